"""Names and counts as sentences tell them."""

from __future__ import annotations

from collections.abc import Sequence

_MAX_NAMED = 5


def name_some(names: Sequence[str], total: int | None = None) -> str:
    """`a, b, c, d, e and 7 more`; `total` counts those too that `names` do not hold."""
    more = (len(names) if total is None else total) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def count_of(number: int, noun: str) -> str:
    """`1 image`, `2 images`, `2 classes`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
