"""Which of several classifiers a job publishes, by what they say of held-out images, and how plain ones do there."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from app.heads import Prediction
from app.inference.protocols import Vectors

Choice = Literal["head", "head_on_trained_features", "trained"]
NAMES: dict[Choice, str] = {
    "head": "the closed-form head",
    "head_on_trained_features": "the closed-form head on trained features",
    "trained": "the trained classifier",
}
"""In the order of what each asks for: of equals the first is published."""
STANDARD_ERRORS = 2.0
"""By how many of its paired difference the trained classifier's loss has to be lower than that of a head on the same
features: its weights, its length and its temperature were chosen by the same images, which flatters it.
"""
MAX_KEPT = 100
"""Examples a label of a closed-form head that is published: it is fitted again from these when it is loaded."""
MAX_FITTED = 2_000
"""Images of all labels together that plain classifiers are fitted on, and closed-form heads at a look."""
_INVERSE_PENALTY, _MAX_STEPS = 100.0, 200
_FLOOR = 1e-12

Losses = NDArray[np.float64]


def losses_of(found: Prediction, y: NDArray[Any]) -> Losses:
    """float64[n]: log loss of each image of labels int64[n], the share for none of the labels left aside."""
    scores = np.asarray(found.scores, np.float64)
    shares = scores[np.arange(len(y)), y] / np.maximum(scores.sum(axis=1), _FLOOR)
    return np.asarray(-np.log(np.maximum(shares, _FLOOR)))


def choose(losses: dict[Choice, Losses]) -> Choice:
    """The one of the lowest mean loss, held to `STANDARD_ERRORS` where it is the trained classifier."""
    heads: list[Choice] = [name for name in NAMES if name in losses and name != "trained"]
    best = min(heads, key=lambda name: float(losses[name].mean()))
    if "trained" in losses:
        gain = losses[best] - losses["trained"]
        error = float(gain.std(ddof=1)) / math.sqrt(len(gain)) if len(gain) > 1 else math.inf
        if gain.mean() > STANDARD_ERRORS * error:
            return "trained"
    return best


def plain_accuracies(
    taught: Vectors, y: NDArray[np.int64], asked: Vectors, truth: NDArray[Any]
) -> dict[str, float]:
    """How often the nearest prototype (class mean) and logistic regression are right about `asked` float32[m, d] of
    labels int64[m], where they learned from `taught` float32[n, d].
    """
    known = np.unique(y)
    means = np.stack([taught[y == label].mean(axis=0) for label in known])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), _FLOOR)
    model = LogisticRegression(C=_INVERSE_PENALTY, max_iter=_MAX_STEPS).fit(taught, y)
    return {
        "prototypes": float((known[(asked @ means.T).argmax(axis=1)] == truth).mean()),
        "logistic_regression": float((model.predict(asked) == truth).mean()),
    }


def first_of_each(y: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Rows of at most so many examples of each label, by label."""
    return np.concatenate([np.flatnonzero(y == label)[:most] for label in np.unique(y)])


def describe(figures: dict[str, float], images: int, published: Choice) -> str:
    """A line for the job's log: accuracies on so many held-out images, by their names in the evaluation."""
    words: dict[str, str] = {
        **{str(name): word for name, word in NAMES.items()},
        "prototypes": "nearest prototypes",
        "logistic_regression": "logistic regression",
        "chance": "guessing",
    }
    summary = ", ".join(f"{words[name]} {figures[name]:.3g}" for name in words if name in figures)
    return f"Accuracy on {images} held-out images: {summary}. What is published is {NAMES[published]}."
