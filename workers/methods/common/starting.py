"""A linear layer that says what the closed-form head says: where training a classifier's own weights begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.heads import Head, SupportSet, fit_head
from app.heads.priors import Priors
from app.inference.protocols import Vectors

_MIN_SHARE = 1e-4
"""Logarithms of smaller shares tell nothing that a linear layer could follow."""
_RIDGE = 0.03
"""Of the mean eigenvalue of the features' second moments: little, since what is fitted has no noise."""


def fit_plain_head(taught: Vectors, y: NDArray[np.int64], labels: Sequence[str], priors: Priors) -> Head:
    """The head that a collection has of the unit features `taught` float32[n, d] of labels `y`, without texts."""
    supports = SupportSet(taught.shape[1])
    supports.add(y, taught)
    return fit_head(list(labels), None, supports, list(range(len(labels))), priors)


def distil_head(head: Head, shown: Vectors) -> tuple[Vectors, Vectors]:
    """rows float32[C, d] and bias float32[C] of the logits nearest to those of the head: ridge regression on its log
    shares for the unit features `shown` float32[m, d] (distillation, Hinton et al. 2015).
    """
    shares = np.asarray(head.predict(shown).scores, np.float64)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    wanted = np.log(np.maximum(shares, _MIN_SHARE))
    x = np.asarray(shown, np.float64)
    mean, level = x.mean(axis=0), wanted.mean(axis=0)
    x, wanted = x - mean, wanted - level
    moments = x.T @ x
    moments[np.diag_indices_from(moments)] += max(_RIDGE * float(np.trace(moments)) / len(moments), 1e-9)
    rows = np.linalg.solve(moments, x.T @ wanted).T
    return rows.astype(np.float32), (level - rows @ mean).astype(np.float32)
