"""The supports of a fit laid out as arrays, with each one's nearest exemplars when it is left out itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.heads.exemplars import spread
from app.heads.head import Nearest
from app.heads.supports import SupportSet
from app.heads.types import Doubles, Floats, Ints


@dataclass(frozen=True)
class Gathered:
    """n vectors of C labels."""

    vectors: Floats
    """float32[n, d], label by label."""
    labels: Ints
    """int64[n]: index of each vector's label."""
    counts: Ints
    """int64[C]: vectors here by label."""
    exemplars: Ints
    """int64[e]: rows that stand for their label, label by label."""

    @property
    def seen(self) -> Ints:
        """int64[p]: labels that have vectors."""
        return np.flatnonzero(self.counts)

    @property
    def unseen(self) -> Ints:
        """int64[q]: labels that have none."""
        return np.flatnonzero(self.counts == 0)

    @property
    def shots(self) -> float:
        """Median number of vectors of the labels that have any."""
        return float(np.median(self.counts[self.seen]))

    def onehot(self) -> Doubles:
        """float64[n, C]"""
        values = np.zeros((len(self.labels), len(self.counts)))
        values[np.arange(len(self.labels)), self.labels] = 1.0
        return values

    def nearest(self, *, among_exemplars: bool) -> Nearest:
        """Groups of exemplars, as columns of cosines with the exemplars alone or with all vectors."""
        owners = self.labels[self.exemplars]
        starts = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]])
        columns = np.arange(len(self.exemplars)) if among_exemplars else self.exemplars
        return Nearest(columns, starts, owners[starts], len(self.counts))

    def left_out(self, rows: Ints) -> tuple[Doubles, Doubles]:
        """Cosine of each row to the nearest exemplar of its own label but itself, and of any other label.

        float64[r] each; -1 where there is none.
        """
        cosines = np.asarray(self.vectors[rows] @ self.vectors[self.exemplars].T, np.float64)
        cosines[rows[:, None] == self.exemplars[None]] = -1.0
        by_label = self.nearest(among_exemplars=True).of(cosines)
        index = np.arange(len(rows))
        own = by_label[index, self.labels[rows]]
        by_label[index, self.labels[rows]] = -1.0
        return own, by_label.max(axis=1)


def gather(supports: SupportSet, label_ids: list[int]) -> Gathered:
    """All vectors that `supports` keeps of these labels."""
    groups = [supports.vectors(label) for label in label_ids]
    counts = np.array([len(group) for group in groups], np.int64)
    starts = np.cumsum(counts) - counts
    exemplars = [start + spread(group) for start, group in zip(starts, groups, strict=True) if len(group)]
    return Gathered(
        vectors=np.concatenate(groups) if groups else np.zeros((0, supports.dim), np.float32),
        labels=np.repeat(np.arange(len(groups)), counts),
        counts=counts,
        exemplars=np.concatenate(exemplars) if exemplars else np.zeros(0, np.int64),
    )
