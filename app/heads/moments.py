"""Counts, sums and the second moment of labelled vectors, kept up to date an example at a time."""

from __future__ import annotations

import numpy as np

from app.heads.types import Doubles, Floats, Ints


class Moments:
    """Sufficient statistics of one Gaussian a label with a common covariance.

    Accumulates in float64, so that a million additions and removals leave no visible trace.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._counts: dict[int, float] = {}
        self._sums: dict[int, Doubles] = {}
        self._second: Doubles = np.zeros((dim, dim))

    @property
    def total(self) -> float:
        """Number of vectors, by weight."""
        return sum(self._counts.values())

    def count(self, label_id: int) -> float:
        """Number of vectors of a label, by weight."""
        return self._counts.get(label_id, 0.0)

    def copy(self) -> Moments:
        """An independent copy."""
        other = Moments(self.dim)
        other._counts = dict(self._counts)
        other._sums = {label: total.copy() for label, total in self._sums.items()}
        other._second = self._second.copy()
        return other

    def add(self, label_ids: Ints, vectors: Floats) -> None:
        """Take in float32[n, d] of the labels int64[n]."""
        self._update(label_ids, vectors, np.ones(len(vectors)))

    def remove(self, label_ids: Ints, vectors: Floats) -> None:
        """Take out what `add` took in; raises ValueError when a label has fewer vectors than that."""
        present, gone = np.unique(label_ids, return_counts=True)
        for label, n in zip(present.tolist(), gone.tolist(), strict=True):
            if self.count(label) < n:
                raise ValueError("more vectors to remove than were added")
        self._update(label_ids, vectors, -np.ones(len(vectors)))

    def discount(self, label_ids: Ints, vectors: Floats, shares: Doubles) -> None:
        """Let vectors that are in count for less: takes out `shares` float64[n] of each, below 1."""
        self._update(label_ids, vectors, -shares)

    def _update(self, label_ids: Ints, vectors: Floats, weights: Doubles) -> None:
        wide = np.asarray(vectors, np.float64)
        weighed = weights[:, None] * wide
        self._second += weighed.T @ wide
        for label in np.unique(label_ids).tolist():
            rows = label_ids == label
            count = self.count(label) + float(weights[rows].sum())
            if count == 0:
                del self._counts[label], self._sums[label]
                continue
            self._counts[label] = count
            before = self._sums.get(label)
            change = weighed[rows].sum(axis=0)
            self._sums[label] = change if before is None else before + change

    def means(self, label_ids: list[int]) -> Doubles:
        """float64[C, d]: each label's mean; a label without vectors raises KeyError."""
        return np.stack([self._sums[label] / self._counts[label] for label in label_ids])

    def within(self) -> tuple[Doubles, float]:
        """float64[d, d], the scatter around the labels' means (not divided), and its degrees of freedom."""
        if not self._sums:
            return np.zeros((self.dim, self.dim)), 0.0
        roots = np.sqrt(list(self._counts.values()))
        scaled = np.stack(list(self._sums.values())) / roots[:, None]
        return self._second - scaled.T @ scaled, self.total - len(self._counts)
