"""Labels are one printable line in one spelling; collections are slugs."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInputError
from app.http.names import description, is_collection_name, label_name


@given(st.text(max_size=60))
def test_a_label_is_settled_printable_and_bounded(text: str) -> None:
    try:
        label = label_name(text, 50)
    except InvalidInputError:
        return
    assert label
    assert label.isprintable()
    assert len(label) <= 50
    assert unicodedata.is_normalized("NFC", label)
    assert label_name(label, 50) == label


def test_spaces_of_any_kind_are_folded() -> None:
    assert label_name(" a \t b\u00a0c\n", 50) == "a b c"


@pytest.mark.parametrize("text", [None, "", "  ", "a\0b", "a\u202eb", "x" * 51])
def test_what_cannot_be_a_label_is_refused(text: str | None) -> None:
    with pytest.raises(InvalidInputError):
        label_name(text, 50)


def test_a_description_may_be_empty() -> None:
    assert description(None, 5) == ""
    with pytest.raises(InvalidInputError, match="description"):
        description("too long", 5)


@pytest.mark.parametrize(
    ("name", "good"),
    [("a", True), ("a" * 63, True), ("0-_", True), ("a" * 64, False), ("", False), ("-a", False),
     ("A", False), ("a b", False), ("a\n", False), ("ä", False), ("a/b", False)],
)  # fmt: skip
def test_a_collection_is_called_by_a_slug(name: str, good: bool) -> None:
    assert is_collection_name(name) is good
