"""A few examples that stand for all of a label, spread over what the label looks like."""

from __future__ import annotations

import numpy as np

from app.heads.types import Floats, Ints

LIMIT = 16
"""Most exemplars a label, so that an answer costs the same whatever is stored."""


def spread(vectors: Floats, limit: int = LIMIT) -> Ints:
    """int64[min(n, limit)]: the row nearest to the mean, then each time the row farthest from all chosen.

    Farthest-point traversal (Gonzalez 1985), within a factor of two of the best possible covering radius.
    """
    n = len(vectors)
    if n <= limit:
        return np.arange(n, dtype=np.int64)
    chosen = np.empty(limit, np.int64)
    chosen[0] = int(np.argmax(vectors @ vectors.mean(axis=0)))
    nearest = vectors @ vectors[chosen[0]]
    nearest[chosen[0]] = np.inf
    for i in range(1, limit):
        chosen[i] = int(np.argmin(nearest))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[i]])
        nearest[chosen[i]] = np.inf
    return np.sort(chosen)
