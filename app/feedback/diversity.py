"""Where a picture stands in the review queue: by its margin, further back for each less sure picture like it.

The places depend on which pictures came and not on the order in which they did, and no picture moves when another is
decided, so that readers of several pages see the same order. This is a greedy selection in the manner of maximal
marginal relevance (Carbonell and Goldstein 1998), with the number of like pictures that go before as its penalty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ENOUGH = 8
"""From so many cosines on they tell how alike any two pictures are to this encoder."""
_LOW_QUANTILE = 0.1
_MAX_BASE = 0.7
"""A queue of nothing but the same thing has no unlike pictures to tell by."""
_DEFAULT_BASE = 0.4


@dataclass(frozen=True)
class QueuePlacement:
    """The place of a new picture, and the pictures that it moves back."""

    place: float
    pushed_back: NDArray[np.intp]
    """Indices of the pictures that are like it and surer: each moves back by the penalty."""


def place_picture(
    margin: float, cosines: NDArray[np.float64], margins: NDArray[np.float64], penalty: float
) -> QueuePlacement:
    """The place of a picture among those that wait.

    Args:
        margin: How far its best score is ahead of the second.
        cosines: float64[n], of its vector to those of the pictures that wait.
        margins: float64[n], theirs.
        penalty: How far a picture moves back for each less sure one like it.
    """
    alike = cosines > _alike_from(cosines)
    before = alike & (margins <= margin)
    return QueuePlacement(margin + penalty * int(before.sum()), np.flatnonzero(alike & ~before))


def _alike_from(cosines: NDArray[np.float64]) -> float:
    """Halfway from what unlike pictures have to 1: encoders differ in the cosines of pictures of different things."""
    base = (
        _DEFAULT_BASE
        if len(cosines) < _ENOUGH
        else min(float(np.quantile(cosines, _LOW_QUANTILE)), _MAX_BASE)
    )
    return (1 + base) / 2
