"""Kernel ridge regression from supports to labels on top of a text classifier (ProKeR), and its leave-one-out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from app.heads.types import Doubles, Floats, Ints

_JITTER = 1e-8
"""Added to the diagonal, for each support, so that rounding leaves the matrix positive definite."""


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


def leave_one_out(solver: Doubles, onehot: Doubles, texts: Doubles) -> LeaveOneOut:
    """Leave-one-out logits without refitting, from A = (K / l + W^-1)^-1.

    DESIGN section 7: t (G + l (R - A R / diag A)) with R = L - G for text cosines G. Divided by l, and with a
    free weight on G, it is linear in L and in G, so that both scales can be fitted on one factorisation. The
    division leaves (R - A R / diag A), the Gaussian process's own leave-one-out mean (Rasmussen and Williams
    2006, eq. 5.12), which holds whatever the noise of each support.
    """
    diagonal = np.diagonal(solver)[:, None]
    image = onehot - (solver @ onehot) / diagonal
    text = (solver @ texts) / diagonal
    return LeaveOneOut(text, image)


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
) -> AnchorRegression:
    """The subset of regressors approximation (Rasmussen and Williams 2006, section 8.3.1) and its leave-one-out.

    `vectors` float32[n, d], `parameters` width and ridge l, `targets` one-hot labels and texts float64[n, C] each,
    `rows` int64[r] are left out in turn. a = (K_kn W K_nk + l K_kk)^-1 K_kn W y; it equals `inverse` where all are
    anchors. A residual with its row left out is the residual over 1 - h, h the row's weight in its own prediction.
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
    image = onehot[rows] - (onehot[rows] - at_rows.T @ (operator @ onehot)) / kept
    return AnchorRegression(
        operator, LeaveOneOut((texts[rows] - at_rows.T @ (operator @ texts)) / kept, image)
    )
