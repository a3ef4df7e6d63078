"""Kernel ridge regression from supports to labels on top of a text classifier (ProKeR), and its leave-one-out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from app.heads.types import Doubles


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


def coefficients(solver: Doubles, onehot: Doubles, texts: Doubles, ridge: float) -> Doubles:
    """float64[n, C]: a / l, so that the predicted residual k a / l is at most about one.

    `texts` are already weighted: the text scale over the image scale, column by column.
    """
    solved: Doubles = solver @ (onehot - texts) / ridge
    return solved
