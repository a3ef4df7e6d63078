"""Cursors come back as they were written, and nothing else passes for one."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInputError
from app.http.paging import from_cursor, page_size, to_cursor
from app.settings import Settings

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)


@given(st.lists(TEXT, min_size=1, max_size=3))
def test_a_cursor_says_what_it_was_made_of(place: list[str]) -> None:
    cursor = to_cursor(*place)
    assert cursor.isascii()
    assert "/" not in cursor
    assert from_cursor(cursor, len(place)) == place


@given(st.text(max_size=80))
def test_anything_else_is_refused_or_is_one(text: str) -> None:
    try:
        place = from_cursor(text, 1)
    except InvalidInputError:
        return
    assert place is not None
    assert len(place) == 1


@pytest.mark.parametrize(
    "value", [None, 1, "a", [], ["a"], ["a", 1], ["a", "\0"], {"a": "b"}, ["a", "b", "c"]]
)
def test_the_wrong_place_is_refused(value: object) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
    with pytest.raises(InvalidInputError, match="cursor"):
        from_cursor(cursor, 2)


def test_no_cursor_is_the_first_page() -> None:
    assert from_cursor(None, 2) is None


def test_a_page_is_never_longer_than_the_service_allows() -> None:
    assert page_size(None, Settings()) == 100
    assert page_size(7, Settings(max_page=7)) == 7
    assert page_size(None, Settings(max_page=7)) == 7
    with pytest.raises(InvalidInputError, match="at most 7"):
        page_size(8, Settings(max_page=7))
