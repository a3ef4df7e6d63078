"""Fits of a few numbers that turn logits and distances into probabilities, each held near a prior."""

from __future__ import annotations

import numpy as np

from app.heads.types import Doubles, Ints, sigmoid, softmax

_ITERATIONS = 12
_CELLS = 200_000
_GRID = np.linspace(-5.0, 7.0, 121)
"""Log-odds among which a threshold is chosen."""
_SPREAD = 0.3
"""Standard deviation, in log-odds, of the bell that smooths what is accepted and what is refused."""
_UNLIKE, _UNLIKE_SPREAD = 0.5, 1.5
"""The share of unknown images that is unlike all that stands for it, and the bell of these. Images to come show what
the examples show, but what is unknown may be anything: a threshold belongs nearer to the known where both lie apart."""
_PRIOR_IMAGES = 8.0
_PULL = 0.05
"""What a threshold loses by the square of its distance from the prior, where shares of one are at stake."""


def fit_scales(
    parts: Doubles, labels: Ints, prior: Doubles, spread: Doubles, weights: Doubles | None = None
) -> tuple[Doubles, float]:
    """The scales s >= 0 for which softmax(sum_k s_k parts_k) best explains `labels`, and the penalised loss a row.

    `parts` float64[K, n, C], `labels` int64[n], `weights` float64[n]: how many observations each row counts for, 1
    by default. Minimises the cross-entropy plus ((s - prior) / spread)^2 / 2 by Newton's method (convex); a large
    problem uses rows at equal steps.
    """
    n, classes = parts.shape[1:]
    weights = np.ones(n) if weights is None else weights
    most = max(64, _CELLS // classes)
    if n > most:
        rows = np.linspace(0, n - 1, most).astype(np.int64)
        parts, labels, weights, n = parts[:, rows], labels[rows], weights[rows], most
    total = float(weights.sum())
    picked = np.take_along_axis(parts, labels[None, :, None], axis=2)[:, :, 0]
    scales = prior.copy()

    def loss(at: Doubles) -> float:
        logits = np.tensordot(at, parts, axes=1)
        top = logits.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
        penalty = 0.5 * float(np.sum(((at - prior) / spread) ** 2))
        return float(weights @ (normaliser - at @ picked)) + penalty

    best = loss(scales)
    for _ in range(_ITERATIONS):
        chances = softmax(np.tensordot(scales, parts, axes=1))
        expected = np.sum(chances * parts, axis=2)
        gradient = (expected - picked) @ weights + (scales - prior) / spread**2
        weighted = (weights[:, None] * chances * parts).reshape(len(parts), -1)
        hessian = weighted @ parts.reshape(len(parts), -1).T - (expected * weights) @ expected.T
        hessian[np.diag_indices_from(hessian)] += 1.0 / spread**2
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-3:
            candidate = np.maximum(scales - size * step, 0.0)
            value = loss(candidate)
            if value < best:
                break
            size *= 0.5
        else:
            break
        gained, best, scales = best - value, value, candidate
        if gained < 1e-4 * total:
            break
    return scales, best / total


def fit_logistic(
    inputs: Doubles, outcomes: Doubles, weights: Doubles, prior: Doubles, spread: Doubles
) -> Doubles:
    """Coefficients of a logistic regression with a Gaussian prior: float64[K] for `inputs` float64[n, K].

    `outcomes` float64[n] are 0 or 1, `weights` float64[n] say how many observations each row counts for.
    """
    coefficients = prior.copy()

    def loss(at: Doubles) -> float:
        margin = inputs @ at
        data = float(weights @ (np.logaddexp(0.0, margin) - outcomes * margin))
        return data + 0.5 * float(np.sum(((at - prior) / spread) ** 2))

    best = loss(coefficients)
    for _ in range(30):
        chances = sigmoid(inputs @ coefficients)
        gradient = inputs.T @ (weights * (chances - outcomes)) + (coefficients - prior) / spread**2
        curvature = weights * chances * (1.0 - chances)
        hessian = (inputs * curvature[:, None]).T @ inputs
        hessian[np.diag_indices_from(hessian)] += 1.0 / spread**2
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-4:
            value = loss(coefficients - size * step)
            if value < best:
                break
            size *= 0.5
        else:
            break
        coefficients = coefficients - size * step
        if best - value < 1e-9 * max(best, 1.0):
            break
        best = value
    return coefficients


def best_threshold(
    known: Doubles, unknown: list[tuple[Doubles, float]], prior: float, *, right: Doubles | None = None
) -> float:
    """The score below which to reject: best balance of accepting `known` and rejecting `unknown`, near `prior`.

    `known` float64[n] are best scores of images that show a label, `right` float64[n] how right each is (1 by
    default, so that accepting wrong labels earns nothing); `unknown` are best scores of images that show none, a
    kind of image each with how much it weighs. Searched in log-odds, so that scores near one are told apart too; the
    curves are smoothed, since their highest point hangs on single images. The prior counts as `_PRIOR_IMAGES` images.
    """
    unknown = [(scores, weight) for scores, weight in unknown if len(scores) and weight > 0.0]
    if len(known) == 0 or not unknown:
        return prior
    worth = np.ones(len(known)) if right is None else right
    accepted = _share_above(known, worth)
    total = sum(weight for _, weight in unknown)
    passed = [weight / total * _share_above(scores, np.ones(len(scores))) for scores, weight in unknown]
    rejected: Doubles = 1.0 - np.sum(passed, axis=0)
    doubt = _PRIOR_IMAGES / (len(known) + _PRIOR_IMAGES)
    value = _smooth(accepted, _SPREAD) + (1.0 - _UNLIKE) * _smooth(rejected, _SPREAD)
    value += _UNLIKE * _smooth(rejected, _UNLIKE_SPREAD)
    value = (1.0 - doubt) * value - doubt * _PULL * (_GRID - log_odds(prior)) ** 2
    return float(sigmoid(_GRID[int(np.argmax(value))]))


def log_odds(share: float) -> float:
    """Of a probability, at most 14 either way."""
    return float(np.clip(np.log(max(share, 1e-7)) - np.log(max(1.0 - share, 1e-7)), -14.0, 14.0))


def _smooth(curve: Doubles, spread: float) -> Doubles:
    """float64[g] on the grid, convolved with a bell of this standard deviation; both ends go on as they are."""
    step = float(_GRID[1] - _GRID[0])
    reach = round(3.0 * spread / step)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / spread) ** 2)
    smoothed: Doubles = np.convolve(np.pad(curve, reach, mode="edge"), bell / bell.sum(), mode="valid")
    return smoothed


def _share_above(scores: Doubles, worth: Doubles) -> Doubles:
    """float64[g]: what is at least as high as each point of the grid, as a share of all."""
    order = np.argsort(scores)
    above = np.r_[0.0, np.cumsum(worth[order][::-1])][::-1]
    shares: Doubles = above[np.searchsorted(scores[order], sigmoid(_GRID), side="left")] / len(scores)
    return shares
