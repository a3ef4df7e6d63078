"""Episodes: small tasks drawn from the training examples, some to learn from and others to be asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from app.methods.params import EpisodicParams

MAX_WAYS, MAX_SHOTS, MAX_QUERIES = 20, 5, 15


@dataclass(frozen=True)
class Episode:
    """Rows of the training examples, grouped by way."""

    ways: np.ndarray[Any, Any]
    """int64[w]: the labels that take part."""
    supports: np.ndarray[Any, Any]
    """int64[w, s]"""
    queries: np.ndarray[Any, Any]
    """int64[w, q]"""


class Episodes:
    """Draws episodes of `ways` labels with `shots` supports and `queries` queries each."""

    def __init__(self, y: np.ndarray[Any, Any], params: EpisodicParams, rng: np.random.Generator) -> None:
        """`y` int64[n] are the examples' labels, each with two rows at least."""
        self._rows = [np.flatnonzero(y == label) for label in np.unique(y)]
        self._rng = rng
        fewest = min(len(rows) for rows in self._rows)
        self.ways = min(params.ways or MAX_WAYS, len(self._rows))
        self.shots = min(params.shots or min(max(fewest // 2, 1), MAX_SHOTS), fewest - 1)
        self.queries = min(params.queries or MAX_QUERIES, fewest - self.shots)

    def draw(self) -> Episode:
        """The next one."""
        ways = np.sort(self._rng.choice(len(self._rows), self.ways, replace=False))
        picked = [self._rng.permutation(self._rows[way])[: self.shots + self.queries] for way in ways]
        rows = np.stack(picked)
        return Episode(ways, rows[:, : self.shots], rows[:, self.shots :])
