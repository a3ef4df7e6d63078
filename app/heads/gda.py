"""Gaussian discriminant analysis: one mean a label and one covariance for all, from moments alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from app.heads.moments import Moments
from app.heads.types import Doubles, Floats, Ints


class Gda(NamedTuple):
    """Discriminants f W + b, up to a part that all labels share."""

    weights: Doubles
    """float64[d, C]"""
    bias: Doubles
    """float64[C]"""

    def discriminants(self, features: Floats) -> Doubles:
        """float64[m, C] of float32[m, d]."""
        values: Doubles = features @ self.weights + self.bias
        return values


def shrinkage(trace: float, squared: float, dim: int, freedom: int, fourth: float) -> float:
    """Ledoit and Wolf's share of the identity, between 0 and 1.

    `trace` and `squared` are the trace and the sum of squared entries of the d x d covariance, the scatter divided
    by `freedom`; `fourth` is the mean of |z|^4 over vectors z centred on their label's mean (Lemma 3.3 needs no
    other fourth moment).
    """
    distance = squared - trace**2 / dim
    if distance <= 0.0 or freedom < 1:
        return 1.0
    return float(np.clip((fourth - squared) / freedom / distance, 0.0, 1.0))


def fit(moments: Moments, label_ids: list[int], *, fourth: float, variance: float) -> Gda:
    """W = P mu and b = -mu P mu / 2 with P the inverse of the shrunk within-label covariance.

    The labels' shares are taken as equal: how many examples somebody happened to upload says little about what
    will be asked. `variance` is the within-label variance of one dimension where the examples do not tell it,
    as with one example a label.
    """
    centres = moments.means(label_ids)
    scatter, freedom = moments.within()
    if freedom < 1:
        return _discriminants(centres, centres / variance)
    covariance = scatter / freedom
    trace, squared = float(np.trace(covariance)), float(np.sum(covariance * covariance))
    share = shrinkage(trace, squared, moments.dim, freedom, fourth)
    covariance *= 1.0 - share
    covariance[np.diag_indices_from(covariance)] += _ridge(share, trace / moments.dim, variance)
    return _discriminants(centres, _solve(covariance, centres.T).T)


def fit_few(vectors: Floats, labels: Ints, classes: int, *, variance: float) -> Gda:
    """The same from fewer vectors float32[n, d] than dimensions, labels int64[n] below `classes`: n x n work.

    By Woodbury's identity (r I + c Z'Z)^-1 mu = (mu - Z' (r/c I + ZZ')^-1 Z mu) / r for centred vectors Z.
    """
    counts = np.bincount(labels, minlength=classes)
    shares = (labels == np.arange(classes)[:, None]) / counts[:, None]
    centres = shares @ vectors
    z = vectors - centres[labels]
    freedom = len(vectors) - classes
    if freedom < 1:
        return _discriminants(centres, centres / variance)
    gram = z @ z.T
    lengths = np.diagonal(gram) * (counts / np.maximum(counts - 1, 1))[labels]
    trace, squared = float(np.trace(gram)) / freedom, float(np.sum(gram * gram)) / freedom**2
    fourth = float(np.mean(lengths[counts[labels] > 1] ** 2))
    share = shrinkage(trace, squared, vectors.shape[1], freedom, fourth)
    ridge = _ridge(share, trace / vectors.shape[1], variance)
    weight = (1.0 - share) / freedom
    if weight < 1e-12:
        return _discriminants(centres, centres / ridge)
    crossed = z @ centres.T
    gram[np.diag_indices_from(gram)] += ridge / weight
    solved = centres - _solve(gram, crossed).T @ z
    return _discriminants(centres, solved / ridge)


def _solve(matrix: Doubles, right: Doubles) -> Doubles:
    """matrix^-1 right, float64[n, C], of a positive definite float64[n, n] that is overwritten, by Cholesky."""
    from scipy.linalg import cho_factor, cho_solve  # 27 MB that a process without taught labels does without

    solved: Doubles = cho_solve(cho_factor(matrix, lower=True, overwrite_a=True), right)
    return solved


def _ridge(share: float, level: float, variance: float) -> float:
    """What is added to the diagonal; never nothing, since identical vectors have no covariance."""
    return share * level + 1e-6 * max(level, 1e-3 * variance)


def _discriminants(centres: Doubles, solved: Doubles) -> Gda:
    return Gda(np.ascontiguousarray(solved.T), -0.5 * np.sum(centres * solved, axis=1))


def mean_fourth(centred: list[Floats]) -> float:
    """Mean of |z|^4 of vectors centred on their label's mean, with n - 1 in place of n in each |z|^2."""
    values = []
    for rows in centred:
        if len(rows) > 1:
            z = rows - rows.mean(axis=0)
            factor = len(rows) / (len(rows) - 1)
            values.append((np.sum(z * z, axis=1, dtype=np.float64) * factor) ** 2)
    return float(np.concatenate(values).mean()) if values else 0.0
