"""Labels that are probably wrong, told from the scores of examples that were left out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from app.heads.types import Doubles, Ints

FIRST_RATE = 0.2
"""Share of wrong labels to begin the search with."""
RATE = 0.02
"""Share of wrong labels that is expected before looking."""
STRENGTH = 10.0
"""How many examples that expectation is worth."""
SUSPECT = 0.5
"""Chance of being right below which an example's label is suspect."""
MIN_WEIGHT = 0.02
"""A suspect example still counts for so much."""


class Suspect(NamedTuple):
    """An example whose label the other examples contradict."""

    key: bytes
    """`supports.vector_key` of its vector."""
    label: int
    """Index of the label it has."""
    told: int
    """Index of the label that the others tell."""
    right: float
    """The chance that its own label is right."""


def rightness(chances: Doubles, labels: Ints, rate: float) -> Doubles:
    """float64[n]: the chance that each label is right, where a share `rate` was replaced by any other label.

    `chances` float64[n, p] are held-out probabilities of the true label, `labels` int64[n] those given. Bayes'
    rule under random classification noise (Angluin and Laird 1988).
    """
    given = chances[np.arange(len(labels)), labels]
    kept = (1.0 - rate) * given
    wrong = rate * (1.0 - given) / max(chances.shape[1] - 1, 1)
    right: Doubles = kept / np.maximum(kept + wrong, 1e-300)
    return right


def update_rate(right: Doubles) -> float:
    """The share of wrong labels: the mean of a Beta distribution that begins at `RATE`."""
    return float((np.sum(1.0 - right) + STRENGTH * RATE) / (len(right) + STRENGTH))
