"""The largest batch worth waiting for: where images a second stop growing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

KNEE_SHARE = 0.95
"""A batch that reaches this share of the best rate is large enough: a larger one only makes its images wait."""
BUDGET_SECONDS = 1.0
_MIN_SECONDS = 0.02
"""Of one measurement; shorter ones are repeated."""


def knee(images_per_s: Mapping[int, float]) -> int:
    """The smallest batch size whose rate is near the best. Raises ValueError for no sizes."""
    best = max(images_per_s.values())
    return min(size for size, rate in images_per_s.items() if rate >= KNEE_SHARE * best)


def measure(sizes: Sequence[int], seconds_of: Callable[[int, int], float]) -> dict[int, float]:
    """Images a second by batch size, ascending, until the time allowed is over.

    `seconds_of(size, repeats)` runs that many batches of a size and gives seconds for one.
    """
    rates: dict[int, float] = {}
    spent = 0.0
    for size in sorted(sizes):
        if rates and spent >= BUDGET_SECONDS:
            break
        first, seconds = seconds_of(size, 1), seconds_of(size, 1)  # the first may load what the others use
        spent += first + seconds
        repeats = min(16, int(_MIN_SECONDS / max(seconds, 1e-6)))
        if repeats > 1:
            seconds = min(seconds, seconds_of(size, repeats))
            spent += repeats * seconds
        rates[size] = size / seconds
    return rates
