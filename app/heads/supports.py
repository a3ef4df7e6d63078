"""The examples of a collection as a head needs them: all vectors of a small one, statistics of a large one."""

from __future__ import annotations

import hashlib

import numpy as np

from app.heads.moments import Moments
from app.heads.types import Floats, Ints, unit

EXACT = 2_000
"""Vectors up to which all are kept and no moments are needed."""
SAMPLE = 4_000
"""Vectors kept of a larger collection, divided among its labels."""
SAMPLE_MIN = 16
"""Fewest vectors kept a label of a larger collection, if it has them."""

_Kept = dict[bytes, tuple[int, Floats]]


class SupportSet:
    """Vectors by label id, added and removed in any order; what it holds depends on what is in, not on the order.

    Past `EXACT` vectors it keeps `Moments` of all and, a label, those vectors whose hashes are smallest: a
    uniform sample that needs no random numbers, so that every process keeps the same one.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.moments: Moments | None = None
        """Statistics of all vectors once there are more than `EXACT`."""
        self._counts: dict[int, int] = {}
        self._kept: dict[int, _Kept] = {}

    @property
    def total(self) -> int:
        """Number of vectors, twins included."""
        return sum(self._counts.values())

    @property
    def stale(self) -> bool:
        """Whether removals left too little to fit well, so that reading everything anew is worth its while."""
        if self.moments is None:
            return False
        if self.total <= EXACT:
            return True
        cap = self._cap()
        return any(2 * len(kept) < min(cap, self._counts[label]) for label, kept in self._kept.items())

    def count(self, label_id: int) -> int:
        """Number of vectors of a label, twins included."""
        return self._counts.get(label_id, 0)

    def copy(self) -> SupportSet:
        """An independent copy; it shares the vectors, which nobody changes."""
        other = SupportSet(self.dim)
        other.moments = None if self.moments is None else self.moments.copy()
        other._counts = dict(self._counts)
        other._kept = {label: dict(kept) for label, kept in self._kept.items()}
        return other

    def add(self, label_ids: Ints, vectors: Floats) -> None:
        """Take in float32[n, d] of the labels int64[n]."""
        vectors = self._check_vectors(label_ids, vectors)
        for label, row in zip(label_ids.tolist(), vectors, strict=True):
            kept = self._kept.setdefault(label, {})
            key = vector_key(row)
            twins = kept[key][0] if key in kept else 0
            kept[key] = (twins + 1, row)
            self._counts[label] = self._counts.get(label, 0) + 1
        if self.moments is not None:
            self.moments.add(label_ids, vectors)
        elif self.total > EXACT:
            self.moments = Moments(self.dim)
            self._add_kept_to(self.moments)
        if self.moments is not None:
            self._trim()

    def remove(self, label_ids: Ints, vectors: Floats) -> None:
        """Take out what `add` took in; what was never in is ignored."""
        vectors = self._check_vectors(label_ids, vectors)
        known: list[int] = []
        for i, (label, row) in enumerate(zip(label_ids.tolist(), vectors, strict=True)):
            kept = self._kept.get(label, {})
            key = vector_key(row)
            if key in kept:
                twins, stored = kept[key]
                if twins > 1:
                    kept[key] = (twins - 1, stored)
                else:
                    del kept[key]
            elif self.moments is None or not self._counts.get(label):
                continue
            known.append(i)
            self._counts[label] -= 1
            if not self._counts[label]:
                del self._counts[label], self._kept[label]
        if self.moments is not None and known:
            self.moments.remove(label_ids[known], vectors[known])

    def vectors(self, label_id: int) -> Floats:
        """float32[n, d]: the distinct vectors kept of a label, in an order that depends on them alone."""
        kept = self._kept.get(label_id, {})
        if not kept:
            return np.zeros((0, self.dim), np.float32)
        return np.stack([kept[key][1] for key in sorted(kept)])

    def digest(self, label_id: int) -> bytes:
        """A hash of what is kept of a label: the same for the same vectors, in whatever order they came."""
        return hashlib.blake2b(b"".join(sorted(self._kept.get(label_id, {}))), digest_size=16).digest()

    def _check_vectors(self, label_ids: Ints, vectors: Floats) -> Floats:
        if vectors.shape != (len(label_ids), self.dim):
            raise ValueError(f"expected vectors of shape {(len(label_ids), self.dim)}, not {vectors.shape}")
        return unit(vectors)

    def _add_kept_to(self, moments: Moments) -> None:
        for label, kept in self._kept.items():
            rows = [row for twins, row in kept.values() for _ in range(twins)]
            moments.add(np.full(len(rows), label, np.int64), np.stack(rows))

    def _cap(self) -> int:
        return max(SAMPLE_MIN, SAMPLE // max(len(self._kept), 1))

    def _trim(self) -> None:
        cap = self._cap()
        for kept in self._kept.values():
            if len(kept) > cap:
                for key in sorted(kept)[cap:]:
                    del kept[key]


def vector_key(row: Floats) -> bytes:
    """What a vector float32[d] is known by, after `unit` has scaled it."""
    return hashlib.blake2b(row.tobytes(), digest_size=8).digest()
