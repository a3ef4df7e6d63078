"""Lists in the fields of a form: repeated, or written as JSON.

A text out of a JSON list is whole: it is never split at its commas.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

_LOOKS_LIKE_JSON = re.compile(r"\[.*\]", re.DOTALL)


class WholeText(str):
    """A text that came as an item of a JSON list."""

    __slots__ = ()


def read_lists(values: Sequence[str]) -> list[str]:
    """The texts of a repeated field, with the items of each that is a JSON list of texts or numbers in its place."""
    found: list[str] = []
    for value in values:
        items = None if isinstance(value, WholeText) else _read_list(value.strip())
        found += [value] if items is None else items
    return found


def split_at_commas(values: Sequence[str]) -> list[str]:
    """The pieces of comma-separated texts, without those that are empty; a whole text is one piece.

    Raises ValueError for what looks like a list and is no JSON: split, it would become other words.
    """
    pieces: list[str] = []
    for value in values:
        if not isinstance(value, WholeText) and _is_broken_list(value.strip()):
            raise ValueError('this looks like a list but is no JSON: write it as ["a", "b"], or as a, b')
        pieces += [value] if isinstance(value, WholeText) else value.split(",")
    return [piece.strip() for piece in pieces if piece.strip()]


def _is_broken_list(text: str) -> bool:
    """Whether a text that is no JSON was meant as a list: it opens one, or quotes an item with a comma in it. Plain
    looks at its ends, since a pattern with two open parts takes quadratic time on a long field.
    """
    if text.startswith("["):
        return text[1:].lstrip().startswith(('"', "'")) or (text.endswith("]") and "," in text)
    return text.startswith('"') and "," in text[1:].partition('"')[0] and '"' in text[1:]


def _read_list(text: str) -> list[str] | None:
    if not _LOOKS_LIKE_JSON.fullmatch(text):
        return None
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(items, list) or not all(type(item) in (str, int, float) for item in items):
        return None
    return [WholeText(item) for item in items]
