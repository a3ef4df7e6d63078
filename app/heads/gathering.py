"""The supports of a fit laid out as arrays, with each one's nearest exemplars when it is left out itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from app.heads.exemplars import LIMIT, spread
from app.heads.head import Nearest
from app.heads.supports import SupportSet
from app.heads.types import Doubles, Floats, Ints

CORE = 2_000
"""Vectors up to which kernel regression takes all as anchors, and from which held-out scores come at most."""
ANCHORS = 1_000
"""Anchors of kernel regression past `CORE` vectors, divided among the labels."""
_COSINES = 4_000_000
"""Cosines with exemplars, or with labels, that are held at a time."""
EXEMPLARS = 2_400
"""Exemplars of all labels together, so that an answer stays fast with a thousand labels."""


@dataclass(frozen=True)
class SupportRows:
    """n vectors of C labels."""

    vectors: Floats
    """float32[n, d], label by label."""
    labels: Ints
    """int64[n]: index of each vector's label."""
    counts: Ints
    """int64[C]: vectors here by label."""
    exemplars: Ints
    """int64[e]: rows that stand for their label, label by label."""
    core: Ints
    """int64[r]: the first so many rows of every label, at most `CORE` : rows to leave out in turn."""
    anchors: Ints
    """int64[k]: those among them that kernel regression puts its weights on."""

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

    def first(self, each: int) -> Ints:
        """int64[m]: the first so many rows of every label."""
        return _first(self.labels, self.counts, each)

    def onehot(self) -> Doubles:
        """float64[n, C]"""
        values = np.zeros((len(self.labels), len(self.counts)))
        values[np.arange(len(self.labels)), self.labels] = 1.0
        return values

    @property
    def balance(self) -> Doubles:
        """float64[n]: N / (p n_c), so that every label that has vectors weighs the same and the mean is 1."""
        weights: Doubles = len(self.labels) / (len(self.seen) * self.counts[self.labels].astype(np.float64))
        return weights

    def nearest(self, columns: Ints | None = None) -> Nearest:
        """Groups of exemplars, as columns of the cosines with the exemplars alone unless said otherwise."""
        owners = self.labels[self.exemplars]
        starts = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]])
        columns = np.arange(len(self.exemplars)) if columns is None else columns
        return Nearest(columns, starts, owners[starts], len(self.counts))

    def left_out(self, rows: Ints) -> tuple[Doubles, Doubles]:
        """Cosine of each row to the nearest exemplar of its own label but itself, and of any other label.

        float64[r] each; -1 where there is none. Rows are looked at once, a few at a time: all of them with all
        exemplars would take gigabytes where labels are many.
        """
        own, other = self._left_out
        wanted = rows[np.isnan(own[rows])]
        step = max(1, _COSINES // max(len(self.exemplars), len(self.counts)))
        for begin in range(0, len(wanted), step):
            few = wanted[begin : begin + step]
            own[few], other[few] = self._nearest_without(few)
        return own[rows], other[rows]

    @cached_property
    def _left_out(self) -> tuple[Doubles, Doubles]:
        """What `left_out` has found so far; NaN elsewhere."""
        return np.full(len(self.labels), np.nan), np.full(len(self.labels), np.nan)

    def _nearest_without(self, rows: Ints) -> tuple[Doubles, Doubles]:
        cosines = self.vectors[rows] @ self.vectors[self.exemplars].T
        place = np.minimum(np.searchsorted(self.exemplars, rows), len(self.exemplars) - 1)
        itself = np.flatnonzero(self.exemplars[place] == rows)
        cosines[itself, place[itself]] = -1.0
        by_label = self.nearest().of(cosines)
        index = np.arange(len(rows))
        own = by_label[index, self.labels[rows]]
        by_label[index, self.labels[rows]] = -1.0
        return own, by_label.max(axis=1)


def gather(supports: SupportSet, label_ids: list[int]) -> SupportRows:
    """All vectors that `supports` keeps of these labels; those of a label come in the order of their hashes."""
    groups = [supports.vectors(label) for label in label_ids]
    counts = np.array([len(group) for group in groups], np.int64)
    starts = np.cumsum(counts) - counts
    limit = even_share(np.minimum(counts, LIMIT), EXEMPLARS)
    exemplars = [
        start + spread(group, limit) for start, group in zip(starts, groups, strict=True) if len(group)
    ]
    labels = np.repeat(np.arange(len(groups)), counts)
    return SupportRows(
        vectors=np.concatenate(groups) if groups else np.zeros((0, supports.dim), np.float32),
        labels=labels,
        counts=counts,
        exemplars=np.concatenate(exemplars) if exemplars else np.zeros(0, np.int64),
        core=_first(labels, counts, even_share(counts, CORE)),
        anchors=_first(labels, counts, even_share(counts, CORE if len(labels) <= CORE else ANCHORS)),
    )


def _first(labels: Ints, counts: Ints, each: int) -> Ints:
    starts = np.cumsum(counts) - counts
    return np.flatnonzero(np.arange(len(labels)) - starts[labels] < each)


def even_share(counts: Ints, total: int) -> int:
    """The largest number a label so that all together take at most `total`; at least 1."""
    largest = int(counts.max(initial=1))
    taken = np.array([np.minimum(counts, each).sum() for each in range(1, min(largest, total) + 1)])
    return max(int(np.count_nonzero(taken <= total)), 1)
