"""Ends a text before the first of some words."""

from __future__ import annotations

from collections.abc import Sequence


def find_stop(text: str, words: Sequence[str]) -> int | None:
    """Where the first of the words begins; None where none is in the text."""
    return min((place for word in words if (place := text.find(word)) >= 0), default=None)


def count_held(text: str, words: Sequence[str]) -> int:
    """How many letters at the end of the text may become one of the words and are not shown yet."""
    return max((_overlap(text, word) for word in words), default=0)


def _overlap(text: str, word: str) -> int:
    """How many letters at the end of `text` begin `word`, which it does not end with."""
    sizes = range(min(len(word) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(word[:size])), 0)
