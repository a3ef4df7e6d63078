"""The supports of a fit laid out as arrays, with each one's nearest exemplars when it is left out itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from app.heads.exemplars import LIMIT, spread
from app.heads.head import Nearest
from app.heads.repeats import Repeats, find_repeats, no_repeats, repeat_distance, same_picture
from app.heads.supports import SupportSet
from app.heads.types import Doubles, Floats, Ints

ENOUGH = 3
"""Examples a label from which on a collection calibrates itself."""
CORE = 2_000
"""Vectors up to which kernel regression takes all as anchors, and from which held-out scores come at most."""
ANCHORS = 1_000
"""Anchors of kernel regression past `CORE` vectors, divided among the labels."""
_COSINES = 4_000_000
"""Cosines with exemplars, or with labels, that are held at a time."""
EXEMPLARS = 2_400
"""Exemplars of all labels together, so that an answer stays fast with a thousand labels."""
_LEAST = 1e-6
"""Vectors that count for less count for nothing: rounding."""


@dataclass(frozen=True)
class SupportRows:
    """n vectors of C labels."""

    vectors: Floats
    """float32[n, d], label by label; those that are nearly one picture are moved together."""
    originals: Floats
    """float32[n, d]: the same before."""
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
    repeats: Repeats
    """Which of them are nearly one picture."""
    distance: float
    """1 - cosine below which they are."""
    taught: Ints
    """int64[C]: vectors that the supports keep by label, of which some are left out here where very many are one
    picture."""
    alone: Doubles
    """float64[C]: the share of these that is like no other."""

    @cached_property
    def weights(self) -> Doubles:
        """float64[n]: how much of an example each vector is; less than 1 where several are nearly one picture."""
        return self.repeats.weights

    @cached_property
    def sizes(self) -> Doubles:
        """float64[C]: examples by label, nearly one picture counted as one."""
        counted = np.bincount(self.labels, weights=self.weights, minlength=len(self.counts))
        return np.asarray(counted, np.float64)

    @property
    def enough(self) -> float:
        """How far the collection calibrates itself: 1 from `ENOUGH` examples a label, 0 at half an example less, and
        between the two where pictures that are nearly one count as part of one.
        """
        return float(np.clip(2 * (self.shots - ENOUGH) + 1, 0.0, 1.0))

    @cached_property
    def judged(self) -> Doubles:
        """float64[n]: how much each vector counts when it is left out: less where little of its label stays."""
        rest = self.sizes[self.labels] - self.repeats.take_out(self.weights)
        found: Doubles = self.weights * np.clip(rest, 0.0, 1.0)
        found[found < _LEAST] = 0.0
        return found

    @property
    def exemplar_count(self) -> float:
        """Exemplars of all labels together, nearly one picture counted as one."""
        of_label = np.bincount(self.labels[self.exemplars], minlength=len(self.counts))
        return float(np.minimum(of_label, self.sizes).sum())

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
        """Median number of examples of the labels that have any."""
        return float(np.median(self.sizes[self.seen]))

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
        """float64[n]: N / (p n_c), so that every label that has vectors weighs the same and an example 1 on average."""
        weights: Doubles = self.weights * (self.sizes.sum() / (len(self.seen) * self.sizes[self.labels]))
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
        cosines = self.originals[rows] @ self.originals[self.exemplars].T
        if self.repeats:  # they go with the row, by degrees
            first, second = np.nonzero(self.labels[rows][:, None] == self.labels[self.exemplars][None])
            own_label = cosines[first, second]
            cosines[first, second] -= same_picture(own_label, self.distance) * (own_label + 1.0)
        place = np.minimum(np.searchsorted(self.exemplars, rows), len(self.exemplars) - 1)
        itself = np.flatnonzero(self.exemplars[place] == rows)
        cosines[itself, place[itself]] = -1.0
        by_label = self.nearest().of(cosines)
        index = np.arange(len(rows))
        own = by_label[index, self.labels[rows]]
        by_label[index, self.labels[rows]] = -1.0
        return own, by_label.max(axis=1)


def gather(supports: SupportSet, label_ids: list[int]) -> SupportRows:
    """All vectors that `supports` keeps of these labels; those of a label come in the order of their hashes.

    Each counts as one example, see `count_once`.
    """
    return _lay_out([supports.vectors(label) for label in label_ids], supports.dim)


def count_once(gathered: SupportRows, unrelated: float) -> SupportRows:
    """The same with vectors of one label that are nearly one picture counting as about one example together.

    `unrelated` is the mean cosine of images that have nothing to do with each other.
    """
    distance = repeat_distance(gathered.vectors, gathered.counts, unrelated)
    groups = np.split(gathered.vectors, np.cumsum(gathered.counts)[:-1])
    repeats, kept, alone = find_repeats(groups, distance)
    if not repeats:
        return gathered
    taught = gathered.counts
    if sum(map(len, kept)) < len(gathered.labels):
        thinned = [group[rows] for group, rows in zip(groups, kept, strict=True)]
        gathered = _lay_out(thinned, gathered.vectors.shape[1])
    return replace(
        gathered,
        vectors=repeats.merge(gathered.vectors),
        repeats=repeats,
        distance=distance,
        taught=taught,
        alone=alone,
    )


def _lay_out(groups: list[Floats], dim: int) -> SupportRows:
    counts = np.array([len(group) for group in groups], np.int64)
    starts = np.cumsum(counts) - counts
    limit = even_share(np.minimum(counts, LIMIT), EXEMPLARS)
    exemplars = [
        start + spread(group, limit) for start, group in zip(starts, groups, strict=True) if len(group)
    ]
    labels = np.repeat(np.arange(len(groups)), counts)
    vectors = np.concatenate(groups) if groups else np.zeros((0, dim), np.float32)
    return SupportRows(
        vectors=vectors,
        originals=vectors,
        labels=labels,
        counts=counts,
        exemplars=np.concatenate(exemplars) if exemplars else np.zeros(0, np.int64),
        core=_first(labels, counts, even_share(counts, CORE)),
        anchors=_first(labels, counts, even_share(counts, CORE if len(labels) <= CORE else ANCHORS)),
        repeats=no_repeats(len(labels)),
        distance=0.0,
        taught=counts,
        alone=np.ones(len(groups)),
    )


def _first(labels: Ints, counts: Ints, each: int) -> Ints:
    starts = np.cumsum(counts) - counts
    return np.flatnonzero(np.arange(len(labels)) - starts[labels] < each)


def even_share(counts: Ints, total: int) -> int:
    """The largest number a label so that all together take at most `total`; at least 1."""
    largest = int(counts.max(initial=1))
    taken = np.array([np.minimum(counts, each).sum() for each in range(1, min(largest, total) + 1)])
    return max(int(np.count_nonzero(taken <= total)), 1)
