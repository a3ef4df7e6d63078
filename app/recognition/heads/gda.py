"""Gaussian discriminant analysis: one mean a label and one covariance for all, from moments alone.

Knows linear algebra; knows nothing of texts or of calibration.
Source: Wang et al. 2024, "A hard-to-beat baseline for training-free CLIP-based adaptation", section 3, with the
shrinkage of Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from app.recognition.heads.moments import Moments
from app.recognition.heads.types import Doubles, Floats


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


def shrinkage(covariance: Doubles, freedom: int, fourth: float) -> float:
    """Ledoit and Wolf's share of the identity, between 0 and 1.

    `covariance` float64[d, d] is the scatter divided by `freedom`; `fourth` is the mean of |z|^4 over vectors z
    centred on their label's mean (Lemma 3.3 needs no other fourth moment).
    """
    dim = len(covariance)
    squared = float(np.sum(covariance * covariance))
    distance = squared - float(np.trace(covariance)) ** 2 / dim
    if distance <= 0.0 or freedom < 1:
        return 1.0
    noise = (fourth - squared) / freedom
    return float(np.clip(noise / distance, 0.0, 1.0))


def fit(
    moments: Moments, label_ids: list[int], *, fourth: float, variance: float, means: Doubles | None = None
) -> Gda:
    """W = P mu and b = -mu P mu / 2 with P the inverse of the shrunk within-label covariance.

    The labels' shares are taken as equal: how many examples somebody happened to upload says little about what
    will be asked. `variance` is the within-label variance of one dimension where the examples do not tell it,
    as with one example a label; `means` float64[C, d] replaces the labels' means.
    """
    centres = moments.means(label_ids) if means is None else means
    scatter, freedom = moments.within()
    if freedom < 1:
        weights = centres.T / variance
        return Gda(weights, -0.5 * np.sum(centres.T * weights, axis=0))
    covariance = scatter / freedom
    share = shrinkage(covariance, freedom, fourth)
    level = float(np.trace(covariance)) / moments.dim
    covariance *= 1.0 - share
    covariance[np.diag_indices_from(covariance)] += share * level + 1e-6 * max(level, 1e-3 * variance)
    weights = cho_solve(cho_factor(covariance, lower=True, overwrite_a=True), centres.T)
    return Gda(weights, -0.5 * np.sum(centres.T * weights, axis=0))


def mean_fourth(centred: list[Floats]) -> float:
    """Mean of |z|^4 of vectors centred on their label's mean, with n - 1 in place of n in each |z|^2."""
    values = []
    for rows in centred:
        if len(rows) > 1:
            z = rows - rows.mean(axis=0)
            factor = len(rows) / (len(rows) - 1)
            values.append((np.sum(z * z, axis=1, dtype=np.float64) * factor) ** 2)
    return float(np.concatenate(values).mean()) if values else 0.0
