"""What a form's fields become: defaults, bounds, lists, and sentences that name what is wrong."""

from __future__ import annotations

from typing import Annotated

import pytest
from hypothesis import settings
from pydantic import Field

from app.errors import InvalidInputError
from app.http.fields import CommaSeparated, Form, at_most, describe_fields, parse_fields
from app.http.written_lists import WholeText, split_at_commas
from app.settings import Settings


class Wanted(Form):
    """One field of each kind."""

    word: str
    number: float | None = Field(None, ge=0, le=1, description="A share.")
    whole: Annotated[int, Field(ge=1), at_most(lambda settings: settings.limits.max_labels)] = 5
    switch: bool = False
    texts: list[str] = Field([])
    labels: CommaSeparated | None = None


def parsed(**texts: list[str]) -> Wanted:
    return parse_fields(Wanted, {"word": ["x"], **texts}, Settings(max_labels=9))


def test_fields_become_what_the_form_says() -> None:
    found = parsed(
        word=[" a "],
        number=["0.5"],
        whole=["7"],
        switch=["true"],
        texts=["a, b", "", "c"],
        labels=["a, b", "", "c,"],
    )
    assert (found.word, found.number, found.whole, found.switch) == ("a", 0.5, 7, True)
    assert (found.texts, found.labels) == (["a, b", "", "c"], ["a", "b", "c"])


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        (['["cat","dog"]'], ["cat", "dog"]),
        ([' [ "tabby, tabby cat", "tench, Tinca tinca" ] '], ["tabby, tabby cat", "tench, Tinca tinca"]),
        (['["a, b"]', "c, d"], ["a, b", "c", "d"]),
        (["[1, 2.5]"], ["1", "2.5"]),
        (["[UNK]"], ["[UNK]"]),
        (["cat, [dog]"], ["cat", "[dog]"]),
        ([WholeText("tabby, tabby cat"), WholeText("[a, b]")], ["tabby, tabby cat", "[a, b]"]),
    ],
)
def test_lists_are_read_as_json_where_they_are_json(written: list[str], labels: list[str]) -> None:
    assert parsed(labels=written).labels == labels


@pytest.mark.parametrize(
    "written",
    [
        "['cat', 'dog']",
        "[cat, dog]",
        '["cat", "dog",]',
        '["cat", ["dog"]]',
        '["tabby, cat", "dog"',
        '"tabby, cat", dog',
    ],
)
def test_what_looks_like_a_list_and_is_none_is_no_label(written: str) -> None:
    with pytest.raises(InvalidInputError, match=r"labels: .*no JSON"):
        parsed(labels=[written])


def test_a_field_of_several_texts_is_read_as_json_too() -> None:
    assert parsed(texts=['["a, b", "c"]', "[d, e]"]).texts == ["a, b", "c", "[d, e]"]


def test_fields_left_out_or_empty_have_their_defaults() -> None:
    found = parsed(number=["  "], whole=[""])
    assert (found.number, found.whole, found.switch, found.labels) == (None, 5, False, None)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"word": ["a", "b"]}, "word: give it once"),
        ({"word": [" "]}, "word: it is missing"),
        ({"number": ["nan"]}, "number: it must be"),
        ({"number": ["1e999"]}, "number: it must be"),
        ({"number": ["x"]}, "number: it must be a number"),
        ({"number": ["1.5"]}, "number: it must be at most 1"),
        ({"whole": ["0.5"]}, "whole: it must be a whole number"),
        ({"whole": ["1_0"]}, "whole: it must be a whole number"),
        ({"whole": ["1e0"]}, "whole: it must be a whole number"),
        ({"number": ["0_0.5"]}, "number: it must be a number"),
        ({"whole": ["10"]}, "whole: it must be at most 9"),
        ({"switch": ["maybe"]}, "switch: it must be true or false"),
        ({"wrod": ["a"]}, "wrod: there is no such field here; known are image, word, number, whole"),
    ],
)
def test_wrong_fields_are_named(texts: dict[str, list[str]], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        parsed(**texts)


def test_the_form_describes_itself() -> None:
    assert describe_fields(Wanted) == {
        "word": {"type": "string"},
        "number": {"type": "number", "minimum": 0, "maximum": 1, "description": "A share."},
        "whole": {"type": "integer", "minimum": 1, "default": 5},
        "switch": {"type": "boolean", "default": False},
        "texts": {"type": "array", "items": {"type": "string"}},
        "labels": {"type": "array", "items": {"type": "string"}},
    }


@pytest.mark.parametrize("text", ["7", "+7", "007", " 7 ", "7.0"])
def test_a_whole_number_is_digits(text: str) -> None:
    assert parsed(whole=[text]).whole == 7


@pytest.mark.parametrize("start", ["[", '"', "[,", '",'])
def test_a_long_text_that_only_begins_like_a_list_is_split_at_once(start: str) -> None:
    # a pattern with two open parts took minutes of this
    assert split_at_commas([start + "a," * 500_000])[-1] == "a"
