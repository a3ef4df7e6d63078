"""Gaussian discriminant analysis: a mean a label and one covariance for all, with its leave-one-out in closed form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from app.heads.moments import Moments
from app.heads.types import Doubles, Floats, Ints

_SOLE = 0.99
"""Largest share of a direction's scatter that leaving one vector out takes away, so that something is left."""
_MIN_REST = 0.5
"""Fewest other vectors of a label, by weight, to tell a left-out one by."""
_MIN_FREEDOM = 2.0
"""Degrees of freedom below which a scatter says how long differences are, but not which way they point."""
_MIN_SPREAD = 0.4
"""Of the encoder's usual variance within a label, what two examples a label show of it at least, and less the more of
them there are: those of some label may all be one picture. No tuning set has less than .49."""


class Gda(NamedTuple):
    """Discriminants f W + b, up to a part that all labels share."""

    weights: Doubles
    """float64[d, p]"""
    bias: Doubles
    """float64[p]"""

    def times(self, scale: float) -> Gda:
        """Discriminants worth `scale` logits."""
        return Gda(scale * self.weights, scale * self.bias)

    def discriminants(self, features: Floats) -> Doubles:
        """float64[m, p] of float32[m, d]."""
        values: Doubles = features @ self.weights + self.bias
        return values


class Fit(NamedTuple):
    """A fit, and the discriminants of some of its vectors with each left out itself."""

    gda: Gda
    left_out: Doubles
    """float64[r, p]; of a label's only vector they mean nothing."""


class Examples(NamedTuple):
    """What a fit is made of: n vectors of p labels, each of which has one."""

    vectors: Floats
    """float32[n, d]"""
    labels: Ints
    """int64[n], below p"""
    weights: Doubles
    """float64[n], from 0 to 1: how much of an example each vector is."""
    rows: Ints
    """int64[r]: which of them to leave out in turn."""


class _Products(NamedTuple):
    """Inner products under the precision matrix P of the left-out vectors x and the labels' means mu."""

    crossed: Doubles
    """float64[r, p]: x P mu"""
    own: Doubles
    """float64[r]: x P x"""
    means: Doubles
    """float64[p, p]: mu P mu"""


def shrinkage(trace: float, squared: float, dim: int, freedom: float, fourth: float) -> float:
    """Ledoit and Wolf's share of the identity, between 0 and 1.

    `trace` and `squared` are the trace and the sum of squared entries of the d x d covariance, the scatter divided
    by `freedom`; `fourth` is the mean of |z|^4 over vectors z centred on their label's mean (Lemma 3.3 needs no
    other fourth moment). One difference alone has the same length as itself, which the lemma takes for certainty.
    """
    distance = squared - trace**2 / dim
    if distance <= 0.0 or freedom < _MIN_FREEDOM:
        return 1.0
    return float(np.clip((fourth - squared) / freedom / distance, 0.0, 1.0))


def fit(examples: Examples, moments: Moments, label_ids: list[int], *, variance: float) -> Fit:
    """W = P mu and b = -mu P mu / 2 with P the inverse of the shrunk within-label covariance.

    `moments` holds at least the examples, those of label p under the id `label_ids[p]`. The labels' shares are
    taken as equal: how many examples somebody happened to upload says little about what will be asked. `variance`
    is the within-label variance of one dimension where the examples do not tell it, as with one example a label.
    """
    centres = moments.means(label_ids)
    scatter, freedom = moments.within()
    dim = moments.dim
    counts: Doubles = np.array([moments.count(label) for label in label_ids], np.float64)
    if freedom < 1:
        return _without_scatter(centres, examples, variance)
    covariance = scatter / freedom
    trace, squared = float(np.trace(covariance)), float(np.sum(covariance * covariance))
    z = examples.vectors - centres[examples.labels]
    fourth = _mean_fourth(np.sum(z * z, axis=1), counts[examples.labels])
    share = shrinkage(trace, squared, dim, freedom, fourth)
    covariance *= 1.0 - share
    level = _level(trace / dim, freedom / len(counts), variance)
    covariance[np.diag_indices_from(covariance)] += _ridge(share, level, variance)
    factor = _factor(covariance)
    of_centres = _forward(factor, centres.T)
    of_rows = _forward(factor, examples.vectors[examples.rows].T.astype(np.float64))
    products = _Products(
        of_rows.T @ of_centres, np.einsum("dr,dr->r", of_rows, of_rows), of_centres.T @ of_centres
    )
    solved = _backward(factor, of_centres).T
    fitted = _discriminants(centres, solved)
    return _remove_bias(fitted, products, examples, counts, (1.0 - share) / freedom)


def fit_few(examples: Examples, gram: Doubles, *, variance: float) -> Fit:
    """The same from fewer vectors than dimensions, whose inner products are `gram` float64[n, n]: n x n work.

    By Woodbury's identity P = (r I + c Z'Z)^-1 = (I - Z' (r/c I + ZZ')^-1 Z) / r for centred vectors Z.
    """
    labels, weights = examples.labels, examples.weights
    counts: Doubles = np.asarray(np.bincount(labels, weights=weights), np.float64)
    shares = np.zeros((len(counts), len(labels)))
    shares[labels, np.arange(len(labels))] = weights / counts[labels]
    centres = shares @ examples.vectors
    freedom, dim = float(counts.sum()) - len(counts), examples.vectors.shape[1]
    if freedom < 1:
        return _without_scatter(centres, examples, variance)
    roots = np.sqrt(weights)[:, None]
    centred = roots * (gram - (shares @ gram)[labels])
    inner = roots.T * (centred - (centred @ shares.T)[:, labels])
    lengths = np.diagonal(inner) / np.maximum(weights, 1e-12)
    trace, squared = float(np.trace(inner)) / freedom, float(np.sum(inner * inner)) / freedom**2
    share = shrinkage(trace, squared, dim, freedom, _mean_fourth(lengths, counts[labels]))
    level = _level(trace / dim, freedom / len(counts), variance)
    ridge, weight = _ridge(share, level, variance), (1.0 - share) / freedom
    rows = examples.rows
    crossed, own = gram[rows] @ shares.T, np.diagonal(gram)[rows]
    means = shares @ gram @ shares.T
    solved = centres
    if weight > 1e-12:
        inner[np.diag_indices_from(inner)] += ridge / weight
        factor = _factor(inner)
        of_centres, of_rows = _forward(factor, centred @ shares.T), _forward(factor, centred[:, rows])
        solved = centres - _backward(factor, of_centres).T @ (roots * (examples.vectors - centres[labels]))
        crossed = crossed - of_rows.T @ of_centres
        own = own - np.einsum("nr,nr->r", of_rows, of_rows)
        means = means - of_centres.T @ of_centres
    products = _Products(crossed / ridge, own / ridge, means / ridge)
    return _remove_bias(_discriminants(centres, solved / ridge), products, examples, counts, weight)


def _leave_one_out(
    products: _Products, examples: Examples, counts: Doubles, weight: float
) -> tuple[Doubles, float]:
    """Discriminants float64[r, p] from one fit, and the mean of z P z with z left out.

    Leaving x of weight w out moves its label's mean by w z / (W - w), where z = x - mu and W is the label's weight.
    The covariance loses a z z', a = c w W / (W - w) with `weight` c, so that by Sherman and Morrison's identity P
    gains (P z)(P z)' a / (1 - a z P z) (Fukunaga and Kessell 1971). The shrinkage stays.
    """
    crossed, own, means = products
    index, labels = np.arange(len(own)), examples.labels[examples.rows]
    w, total = examples.weights[examples.rows], counts[labels]
    rest = np.maximum(total - w, 1e-9)
    z_means = crossed - means[labels]
    z_own = own - crossed[index, labels]
    z_z = z_own - z_means[index, labels]
    lost = weight * w * total / rest
    gain = lost / (1.0 - np.minimum(lost * z_z, _SOLE))
    moved = w / rest
    squares = np.broadcast_to(np.diagonal(means), crossed.shape).copy()
    squares[index, labels] += moved * (moved * z_z - 2.0 * z_means[index, labels])
    linear, across = crossed.copy(), z_means.copy()
    linear[index, labels] -= moved * z_own
    across[index, labels] -= moved * z_z
    left_out: Doubles = linear + (gain * z_own)[:, None] * across
    left_out -= 0.5 * (squares + gain[:, None] * across**2)
    judged = rest > _MIN_REST
    distances = (total / rest * z_z / (1.0 - np.minimum(lost * z_z, _SOLE)))[judged]
    return left_out, float(np.mean(distances)) if len(distances) else 0.0


def _remove_bias(fit: Gda, products: _Products, examples: Examples, counts: Doubles, weight: float) -> Fit:
    """The fit and its leave-one-out, less what is due to means of few vectors.

    A mean of n vectors lies too far out: mu P mu is tr(P S) / n too large on average, so that a scarce label is
    told too seldom (Moran and Murphy 1979). tr(P S) is the mean distance of a left-out vector from its label's mean.
    """
    left_out, distance = _leave_one_out(products, examples, counts, weight)
    labels = examples.labels[examples.rows]
    others = np.maximum(counts[labels] - examples.weights[examples.rows], _MIN_REST)
    left_out += 0.5 * distance / counts
    left_out[np.arange(len(labels)), labels] += 0.5 * distance * (1.0 / others - 1.0 / counts[labels])
    return Fit(Gda(fit.weights, fit.bias + 0.5 * distance / counts), left_out)


def _without_scatter(centres: Doubles, examples: Examples, variance: float) -> Fit:
    """Nearest means, where no label has two vectors to tell a scatter by; nothing can be left out."""
    return Fit(_discriminants(centres, centres / variance), np.zeros((len(examples.rows), len(centres))))


def _factor(matrix: Doubles) -> Doubles:
    """The lower Cholesky factor of a positive definite float64[n, n] that is overwritten."""
    from scipy.linalg import cholesky  # 27 MB that a process without taught labels does without

    factor: Doubles = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
    return factor


def _forward(factor: Doubles, right: Doubles) -> Doubles:
    """L^-1 right, float64[n, k], whose inner products are those under the inverse of L L'."""
    from scipy.linalg import solve_triangular

    solved: Doubles = solve_triangular(factor, right, lower=True, check_finite=False)
    return solved


def _backward(factor: Doubles, forward: Doubles) -> Doubles:
    """L'^-1 of what `_forward` gives: (L L')^-1 right, float64[n, k]."""
    from scipy.linalg import solve_triangular

    solved: Doubles = solve_triangular(factor, forward, lower=True, trans=1, check_finite=False)
    return solved


def _level(seen: float, freedom: float, variance: float) -> float:
    """The variance of one dimension, from what is seen of it at so many degrees of freedom a label."""
    return max(seen, _MIN_SPREAD * variance / max(freedom, 1.0))


def _ridge(share: float, level: float, variance: float) -> float:
    """What is added to the diagonal; never nothing, since identical vectors have no covariance."""
    return share * level + 1e-6 * max(level, 1e-3 * variance)


def _discriminants(centres: Doubles, solved: Doubles) -> Gda:
    return Gda(np.ascontiguousarray(solved.T), -0.5 * np.sum(centres * solved, axis=1))


def _mean_fourth(lengths: Doubles, counts: Doubles) -> float:
    """Mean of |z|^4 from the |z|^2 of vectors centred on their label's mean, with n - 1 in place of n in each."""
    several = counts > 1.0
    if not several.any():
        return 0.0
    unbiased = lengths[several] * counts[several] / (counts[several] - 1.0)
    return float(np.mean(unbiased**2))
