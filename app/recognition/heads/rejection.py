"""The chance that an image shows none of the labels, from its cosine to the nearest of them.

Knows how such cosines are spread for images that show a label and for images that do not; knows no labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Wide = NDArray[np.float64]
_GRID: Wide = np.linspace(-1.0, 1.0, 401)
_LEAST_STD = 0.02
_SURE = 0.995
"""Neither outcome is ever certain: a cosine alone cannot say so."""


@dataclass(frozen=True)
class Spread:
    """A normal distribution of cosines."""

    mean: float
    std: float

    @classmethod
    def of(cls, cosines: NDArray[np.floating]) -> Spread:
        """Of a sample [n], n > 0."""
        return cls(float(np.mean(cosines)), float(np.std(cosines)))

    def density(self, at: Wide) -> Wide:
        std = max(self.std, _LEAST_STD)
        made: Wide = np.exp(-0.5 * ((at - self.mean) / std) ** 2) / std
        return made


@dataclass(frozen=True)
class Rejection:
    """P(none | cosine to the nearest label), a falling curve over [-1, 1]."""

    curve: Wide

    def none(self, nearest: NDArray[np.floating]) -> Wide:
        """Cosines [m] to probabilities [m]."""
        chance: Wide = np.interp(np.asarray(nearest, np.float64), _GRID, self.curve)
        return chance


def separate(same: Spread, others: Sequence[Spread]) -> Rejection:
    """Bayes' rule with even odds between `same` and an even mixture of `others`, made to fall with the cosine.

    Where the distributions hardly differ the curve stays near 1/2: it says that it does not know.
    """
    shown = same.density(_GRID) + 1e-12
    absent = np.mean([other.density(_GRID) for other in others], axis=0) + 1e-12
    chance = absent / (absent + shown)
    # More similar than is usual for the label is no sign of its absence, nor is less similar one of its presence.
    middle = int(np.searchsorted(_GRID, same.mean))
    low = int(np.searchsorted(_GRID, min(other.mean for other in others)))
    chance[: min(low, middle)] = chance[min(low, middle)]
    falling = np.minimum.accumulate(chance)
    return Rejection(np.clip(falling, 1.0 - _SURE, _SURE))
