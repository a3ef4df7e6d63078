"""Losses of simulated collections over a grid of one number, and the coefficients that bring them to their least."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from app.heads import Head, Priors, calibration
from app.heads.novelty import for_collection
from app.heads.types import Doubles, Floats, Ints, sigmoid
from scripts.episodes import Episode

LOG_SCALES = np.linspace(np.log(0.002), np.log(300.0), 36)
LOG_ODDS = np.linspace(-5.0, 7.0, 121)
SPREAD = 3.0
"""How far coefficients go from none at all, one standard deviation, where each episode counts as one image."""
_OUTSIDE = 0.1
"""What a point off the grid costs for each step that it is away."""
_SMOOTHING = np.exp(-0.5 * (np.arange(-12, 13) / 4.0) ** 2)
_SMOOTHING /= _SMOOTHING.sum()


def fit_coefficients(traits: Doubles, losses: Doubles, grid: Doubles) -> tuple[float, ...]:
    """Coefficients of the traits float64[n, K] with the least mean loss; the first trait is one.

    `losses` float64[n, g] are each episode's at the g evenly spaced points of `grid`, interpolated between them.
    """
    rows, step = np.arange(len(losses)), grid[1] - grid[0]

    def cost(coefficients: Doubles) -> float:
        place = (traits @ coefficients - grid[0]) / step
        left = np.clip(place.astype(np.int64), 0, len(grid) - 2)
        share = np.clip(place - left, 0.0, 1.0)
        value = losses[rows, left] + share * (losses[rows, left + 1] - losses[rows, left])
        outside = np.maximum(0.0, np.maximum(-place, place - len(grid) + 1))
        drawn = 0.5 * float(np.sum((coefficients[1:] / SPREAD) ** 2)) / len(losses)
        return float(np.mean(value + _OUTSIDE * outside)) + drawn

    start = np.zeros(traits.shape[1])
    start[0] = grid[int(np.argmin(losses.mean(axis=0)))]
    simplex = start + np.concatenate([np.zeros((1, len(start))), 0.5 * np.eye(len(start))])
    options = {"maxiter": 2000, "xatol": 1e-3, "fatol": 1e-6, "initial_simplex": simplex}
    found = minimize(cost, start, method="Nelder-Mead", options=options).x
    return tuple(round(float(value), 3) for value in found)


def cross_entropies(parts: Doubles, fixed: Doubles, answers: Ints, scales: Doubles = LOG_SCALES) -> Doubles:
    """float64[g]: of softmax(fixed + scale * parts), both float64[m, C], at each of the scales' logarithms."""
    losses = np.empty(len(scales))
    rows = np.arange(len(answers))
    for place, scale in enumerate(np.exp(scales)):
        logits = fixed + scale * parts
        top = logits.max(axis=1)
        normaliser = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
        losses[place] = np.mean(normaliser - logits[rows, answers])
    return losses


def rejection_losses(head: Head, episode: Episode) -> Doubles:
    """float64[121]: 1 less the mean of (right and accepted, unknown and refused) for thresholds at `LOG_ODDS`.

    Smoothed, so that single images do not matter; each kind of unknown image weighs the same.
    """
    scores = head.predict(episode.queries).scores
    right = scores.argmax(axis=1) == episode.answers
    accepted = _share_above(scores.max(axis=1), right)
    refused = np.mean(
        [
            1.0 - _share_above(head.predict(images).scores.max(axis=1), np.ones(len(images), bool))
            for images in episode.unknown
        ],
        axis=0,
    )
    value = 1.0 - 0.5 * (accepted + refused)
    smooth: Doubles = np.convolve(np.pad(value, 12, mode="edge"), _SMOOTHING, mode="valid")
    return smooth


def _share_above(scores: Floats, counted: NDArray[np.bool_]) -> Doubles:
    shares: Doubles = ((scores[:, None] >= sigmoid(LOG_ODDS)) & counted[:, None]).mean(axis=0)
    return shares


def evidence_of(episodes: list[Episode], draft: Priors, mean: Doubles) -> tuple[float, float, float, float]:
    """Logistic regression of an image showing some label, every episode weighing the same, near `mean` float64[4]."""
    inputs, outcomes, weights = [], [], []
    for episode in episodes:
        gathered = episode.gathered
        exemplars = gathered.vectors[gathered.exemplars]
        alike = episode.traits(draft)[1]
        unknown = episode.unknown
        for images, outcome, weight in (
            (episode.queries, 1.0, 1.0),
            *((images, 0.0, 1.0 / len(unknown)) for images in unknown),
        ):
            relative = for_collection(draft, gathered).relative(
                (images @ exemplars.T).max(axis=1).astype(np.float64)
            )
            constant = np.ones(len(images))
            inputs.append(
                np.stack([constant, relative, constant * alike, constant * np.log(len(exemplars))], axis=1)
            )
            outcomes.append(np.full(len(images), outcome))
            weights.append(np.full(len(images), weight / len(images)))
    fitted = calibration.fit_logistic(
        np.concatenate(inputs),
        np.concatenate(outcomes),
        10 * np.concatenate(weights),
        mean,
        np.array([4.0, 8.0, 6.0, 0.5]),
    )
    offset, slope, between, count = (round(float(value), 3) for value in fitted)
    return offset, slope, between, count
