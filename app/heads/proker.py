"""Kernel ridge regression from supports to labels on top of a text classifier (ProKeR), and its leave-one-out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from app.heads.repeats import Folds
from app.heads.types import Doubles, Floats, Ints

_JITTER = 1e-8
"""Added to the diagonal, for each support, so that rounding leaves the matrix positive definite."""
_CELLS = 2_000_000
"""Numbers of folds that are held at a time."""


def kernel(cosines: Doubles, b: float) -> Doubles:
    """exp(-b (1 - cosine)): a Gaussian kernel on unit vectors."""
    values: Doubles = np.exp(b * (cosines - 1.0))
    return values


def inverse(gram: Doubles, b: float, ridge: float, weights: Doubles | None = None) -> Doubles:
    """(K / ridge + W^-1)^-1, float64[n, n], of the supports' cosines `gram`, by Cholesky.

    `weights` float64[n] are the diagonal of W, what an error on each support costs in the least squares; 1 by default.
    """
    from scipy.linalg.lapack import dpotrf, dpotri  # 27 MB that a process without taught labels does without

    system = kernel(gram, b) / ridge
    system[np.diag_indices_from(system)] += 1.0 if weights is None else 1.0 / weights
    factor, failed = dpotrf(system, lower=1, clean=1, overwrite_a=1)
    if not failed:
        lower, failed = dpotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise np.linalg.LinAlgError("the supports' kernel matrix is not positive definite")
    full: Doubles = np.tril(lower) + np.tril(lower, -1).T
    return full


class LeaveOneOut(NamedTuple):
    """Each support's logits with itself left out are `text_scale * text + image_scale * image`."""

    text: Doubles
    """float64[n, C]"""
    image: Doubles
    """float64[n, C]"""


def leave_one_out(
    solver: Doubles,
    onehot: Doubles,
    texts: Doubles,
    weights: Doubles | None = None,
    folds: Folds | None = None,
) -> LeaveOneOut:
    """Leave-one-out logits without refitting, from A = (K / l + W^-1)^-1.

    DESIGN section 7: t (G + l (R - A R / diag A)) with R = L - G for text cosines G. Divided by l, and with a
    free weight on G, it is linear in L and in G, so that both scales can be fitted on one factorisation. The
    division leaves (R - A R / diag A), the Gaussian process's own leave-one-out mean (Rasmussen and Williams
    2006, eq. 5.12), which holds whatever the noise of each support. The supports of `folds` go with their repeats;
    `weights` float64[n] are those of `inverse`.
    """
    diagonal = np.diagonal(solver)[:, None]
    fitted = solver @ onehot, solver @ texts
    missed = [values / diagonal for values in fitted]
    if folds is not None and len(folds.places):
        noise = 1.0 if weights is None else (1.0 / weights)[:, None]
        shares = _exact_shares(solver, weights, folds)
        for left, values in zip(missed, fitted, strict=True):
            left[folds.places] = _mix(shares, noise * values, folds.members)
    return LeaveOneOut(missed[1], onehot - missed[0])


def _exact_shares(solver: Doubles, weights: Doubles | None, folds: Folds) -> Doubles:
    """`_fold_shares` of `leave_one_out`, some folds at a time."""
    found = []
    size = folds.members.shape[1]
    step, index = max(1, _CELLS // size**2), np.arange(size)
    for start in range(0, len(folds.places), step):
        members, shares = folds.members[start : start + step], folds.shares[start : start + step]
        hats = -solver[members[:, :, None], members[:, None]]
        if weights is not None:
            hats *= (1.0 / weights)[members][:, :, None]
        hats[:, index, index] += 1.0
        found.append(_fold_shares(hats, shares))
    return np.concatenate(found)


def _fold_shares(hats: Doubles, shares: Doubles) -> Doubles:
    """float64[f, m]: what the residuals of a fold's members add up to with the fold left out is that of its first.

    `hats` float64[f, m, m] are what the members' targets are worth in the members' predictions, H, and `shares`
    float64[f, m] how much of each member goes, S: the residuals without them are (I - H S)^-1 times those with them,
    by Woodbury's identity (of one row, the residual over 1 - h). A member that fills up has the share 0.
    """
    system = -shares[:, :, None] * hats.transpose(0, 2, 1)
    index = np.arange(shares.shape[1])
    system[:, index, index] += 1.0
    first = np.zeros((*shares.shape, 1))
    first[:, 0] = 1.0
    solved: Doubles = np.asarray(np.linalg.solve(system, first)[:, :, 0], np.float64)
    return solved


def _mix(shares: Doubles, residuals: Doubles, members: Ints) -> Doubles:
    """float64[f, C] of residuals float64[n, C]; a member at a time, since all together take too much memory."""
    mixed = np.zeros((len(members), residuals.shape[1]))
    for place in range(members.shape[1]):
        mixed += shares[:, place, None] * residuals[members[:, place]]
    return mixed


class AnchorRegression(NamedTuple):
    """Kernel regression of n supports on k of them, the anchors."""

    operator: Doubles
    """float64[k, n]: coefficients of the anchors are this times the targets."""
    leave_one_out: LeaveOneOut


def fit_on_anchors(
    vectors: Floats,
    anchors: Ints,
    parameters: tuple[float, float],
    weights: Doubles,
    targets: tuple[Doubles, Doubles],
    rows: Ints,
    folds: Folds | None = None,
) -> AnchorRegression:
    """The subset of regressors approximation (Rasmussen and Williams 2006, section 8.3.1) and its leave-one-out.

    `vectors` float32[n, d], `parameters` width and ridge l, `targets` one-hot labels and texts float64[n, C] each,
    `rows` int64[r] are left out in turn. a = (K_kn W K_nk + l K_kk)^-1 K_kn W y; it equals `inverse` where all are
    anchors. A residual with its row left out is the residual over 1 - h, h the row's weight in its own prediction; the
    rows of `folds` go with their repeats.
    """
    from scipy.linalg import cho_factor, cho_solve  # 27 MB that a process without taught labels does without

    width, ridge = parameters
    near = kernel(np.asarray(vectors[anchors] @ vectors.T, np.float64), width)
    weighted = near * weights
    system = weighted @ near.T + ridge * near[:, anchors]
    system[np.diag_indices_from(system)] += _JITTER * len(vectors)
    operator: Doubles = cho_solve(
        cho_factor(system, lower=True, overwrite_a=True), weighted, overwrite_b=True
    )
    at_rows = near[:, rows]
    kept = 1.0 - np.einsum("kr,kr->r", at_rows, operator[:, rows])[:, None]
    onehot, texts = targets
    coefficients = operator @ onehot, operator @ texts
    missed = [
        (values[rows] - at_rows.T @ found) / kept for values, found in zip(targets, coefficients, strict=True)
    ]
    if folds is not None and len(folds.places):
        shares = _reduced_shares(near, operator, folds)
        involved, members = np.unique(folds.members, return_inverse=True)
        members = members.reshape(folds.members.shape)
        for left, values, found in zip(missed, targets, coefficients, strict=True):
            left[folds.places] = _mix(shares, values[involved] - near[:, involved].T @ found, members)
    return AnchorRegression(operator, LeaveOneOut(missed[1], onehot[rows] - missed[0]))


def _reduced_shares(near: Doubles, operator: Doubles, folds: Folds) -> Doubles:
    """`_fold_shares` of `fit_on_anchors`, some folds at a time."""
    found = []
    size = folds.members.shape[1]
    step = max(1, _CELLS // (size * max(size, len(near))))
    for start in range(0, len(folds.places), step):
        members, shares = folds.members[start : start + step], folds.shares[start : start + step]
        hats = near[:, members].transpose(1, 2, 0) @ operator[:, members].transpose(1, 0, 2)
        found.append(_fold_shares(hats, shares))
    return np.concatenate(found)
