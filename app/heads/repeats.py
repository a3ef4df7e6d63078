"""Examples of one label that are nearly one picture (frames of a film, a phone's burst): together they count as one.

Two such examples are the same picture to a share that goes from 0 to 1 as they come nearer, so that nothing jumps.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.heads.types import Doubles, Floats, Ints, unit

NEAR = 0.04
"""1 - relative similarity from which on two examples are two pictures."""
NEARER = 0.75
"""Share of that distance below which they are the same picture."""
BETWEEN = 0.15
"""They are two pictures, too, at so large a share of the mean distance between labels: what tells look-alikes apart may
be as small as what tells frames apart."""
MAX_FRAMES = 16
"""So many examples of one picture are looked at; more tell nothing and cost time."""
MAX_FOLD = 64
"""So many rows go at most when one is left out with its repeats, the likest: where very many are slightly alike, all of
them would take gigabytes, and none of the others is much of a repeat."""
_MERGED = 64
"""Rows that are merged at a time."""


class Repeats:
    """Which of n rows are nearly the same picture as which others of their label, and to what share."""

    def __init__(self, size: int, rows: Ints, others: Ints, shares: Doubles) -> None:
        """`rows` and `others` int64[k], every pair both ways round, `shares` float64[k] from 0 to 1."""
        self.size = size
        order = np.argsort(rows, kind="stable")
        self.rows, self.others, self.shares = rows[order], others[order], shares[order]

    def __bool__(self) -> bool:
        return len(self.rows) > 0

    @cached_property
    def weights(self) -> Doubles:
        """float64[n]: how much of an example each row is, one over how many rows are the same picture."""
        found: Doubles = 1.0 / (1.0 + self._sum(self.shares))
        return found

    def take_out(self, weights: Doubles) -> Doubles:
        """float64[n]: what goes when each row is left out with its repeats, of rows that weigh float64[n]."""
        found: Doubles = weights + self._sum(self.shares * weights[self.others])
        return found

    def merge(self, vectors: Floats) -> Floats:
        """float32[n, d]: each row moved to the mean of what is the same picture, of unit length."""
        merged, touched = vectors.copy(), np.unique(self.rows)
        for start in range(0, len(touched), _MERGED):
            some = touched[start : start + _MERGED]
            begin, end = np.searchsorted(self.rows, [some[0], some[-1] + 1])
            pairs = slice(begin, end)
            others, place = np.unique(self.others[pairs], return_inverse=True)
            parts = np.zeros((len(some), len(others)))
            parts[np.searchsorted(some, self.rows[pairs]), place] = self.shares[pairs]
            moved = (
                self.weights[some, None] * vectors[some] + (parts * self.weights[others]) @ vectors[others]
            )
            merged[some] = unit(moved.astype(np.float32))
        return merged

    def folds(self, rows: Ints) -> Folds:
        """What goes with each of `rows` int64[r], ascending, when it is left out; see `MAX_FOLD`."""
        if not self:
            return Folds(np.zeros(0, np.int64), np.zeros((0, 1), np.int64), np.zeros((0, 1)))
        chosen = np.flatnonzero(np.isin(self.rows, rows))
        chosen = chosen[np.lexsort((-self.shares[chosen], self.rows[chosen]))]
        left, starts, counts = np.unique(self.rows[chosen], return_index=True, return_counts=True)
        rank = np.arange(len(chosen)) - np.repeat(starts, counts)
        line = np.repeat(np.arange(len(left)), counts)
        kept = rank < MAX_FOLD - 1
        chosen, rank, line = chosen[kept], rank[kept], line[kept]
        counts = np.minimum(counts, MAX_FOLD - 1)
        width = int(counts.max(initial=0))
        members = np.repeat(left[:, None], width + 1, axis=1)
        shares = np.zeros(members.shape)
        shares[:, 0] = 1.0
        members[line, rank + 1], shares[line, rank + 1] = self.others[chosen], self.shares[chosen]
        return Folds(np.searchsorted(rows, left), members, shares)

    def within(self, rows: Ints) -> Repeats:
        """The same among some rows, int64[r], ascending; row i is `rows[i]`."""
        both = np.isin(self.rows, rows) & np.isin(self.others, rows)
        return Repeats(
            len(rows),
            np.searchsorted(rows, self.rows[both]),
            np.searchsorted(rows, self.others[both]),
            self.shares[both],
        )

    def _sum(self, values: Doubles) -> Doubles:
        return np.asarray(np.bincount(self.rows, weights=values, minlength=self.size), np.float64)


class Folds(NamedTuple):
    """Rows that are left out together with others; rows that are left out alone are not among them."""

    places: Ints
    """int64[f]: places among the rows that are left out in turn."""
    members: Ints
    """int64[f, m]: the row itself first; filled up with it."""
    shares: Doubles
    """float64[f, m]: how much of each goes; 1 of the row itself, 0 of what fills up."""


def no_repeats(size: int) -> Repeats:
    """Of n rows none is like another."""
    nothing = np.zeros(0, np.int64)
    return Repeats(size, nothing, nothing, np.zeros(0))


def same_picture(cosines: Floats | Doubles, distance: float) -> NDArray[Any]:
    """The share to which examples of one label are one picture: 0 from `distance` on, 1 from `NEARER` of it on.

    Of the shape and type of `cosines`: of thousands of examples another table would be as large again.
    """
    shares: NDArray[Any] = 1.0 - cosines
    shares /= -distance * (1.0 - NEARER)
    shares += 1.0 / (1.0 - NEARER)
    return np.clip(shares, 0.0, 1.0, out=shares)


def repeat_distance(vectors: Floats, counts: Ints, unrelated: float) -> float:
    """1 - cosine from which on two examples of one label are two pictures.

    `vectors` float32[n, d] come label by label, `counts` int64[C] of each; `unrelated` is the mean cosine of images
    that have nothing to do with each other.
    """
    distance, taught = NEAR * (1.0 - unrelated), counts[counts > 0]
    if len(taught) > 1:
        sums = np.add.reduceat(vectors, np.cumsum(taught) - taught, axis=0, dtype=np.float64)
        means = sums / taught[:, None]
        total, labels = means.sum(axis=0), len(taught)
        across = (float(total @ total) - float(np.sum(means * means))) / (labels * (labels - 1))
        distance = min(distance, BETWEEN * (1.0 - across))
    return max(distance, 1e-6)


def find_repeats(groups: list[Floats], distance: float) -> tuple[Repeats, list[Ints], Doubles]:
    """Repeats among the rows of each label that are kept, which rows int64[k_c] those are, and what share is alone.

    `groups` are float32[n_c, d] of each label. The last is float64[C]: the share of a label's rows that are like no
    other. Of more than `MAX_FRAMES` examples of one picture the first are kept.
    """
    rows: list[Ints] = []
    others: list[Ints] = []
    shares: list[Doubles] = []
    kept: list[Ints] = []
    alone = np.ones(len(groups))
    start = 0
    for label, group in enumerate(groups):
        chosen = np.arange(len(group), dtype=np.int64)
        if len(group) > 1:
            cosines = group @ group.T
            np.fill_diagonal(cosines, -1.0)
            if float(cosines.max()) > 1.0 - distance:
                same = same_picture(cosines, distance)
                sums = same.sum(axis=1, dtype=np.float64)
                alone[label] = float(np.maximum(2.0 / (1.0 + sums) - 1.0, 0.0).mean())
                if sums.max() >= MAX_FRAMES:
                    chosen = _thin(same)
                    same = same[np.ix_(chosen, chosen)]
                first, second = np.nonzero(same)
                rows.append(first + start)
                others.append(second + start)
                shares.append(same[first, second].astype(np.float64))
        kept.append(chosen)
        start += len(chosen)
    if not rows:
        return no_repeats(start), kept, alone
    found = Repeats(start, np.concatenate(rows), np.concatenate(others), np.concatenate(shares))
    return found, kept, alone


def _thin(same: Floats) -> Ints:
    """The rows of float32[n, n], in order, that fewer than `MAX_FRAMES` before them are the same picture as."""
    before = np.zeros(len(same))
    kept = []
    for row in range(len(same)):
        if before[row] < MAX_FRAMES - 1:
            kept.append(row)
            before += same[row]
    return np.array(kept, np.int64)
