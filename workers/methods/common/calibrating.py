"""How a method's logits become calibrated scores, and how a classifier's scores become the figures of its card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from app.heads import Prediction
from workers.shared import metrics
from workers.shared.examples import Item
from workers.shared.method import Judgement

Floats = NDArray[np.floating[Any]]
_MAX_FACTOR = 100.0


def log_softmax(logits: Floats) -> Floats:
    """float[m, C], along the last axis."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def fit_scale(logits: Floats, y: NDArray[Any], usual: float = 1.0) -> float:
    """s of softmax(s * logits) with the least log loss on these examples (temperature scaling, Guo et al. 2017,
    section 4.2), drawn towards the usual one as by two more examples, which it is where there are none.

    `logits` float[m, C], `y` int64[m]; within a hundredth and a hundred times `usual`.
    """
    if not len(y):
        return usual

    def cost(log_scale: float) -> float:
        return log_loss(float(np.exp(log_scale)) * logits, y) * len(y) + 2.0 * (log_scale - at) ** 2

    at, reach = float(np.log(usual)), float(np.log(_MAX_FACTOR))
    return float(np.exp(minimize_scalar(cost, bounds=(at - reach, at + reach), method="bounded").x))


def log_loss(logits: Floats, y: NDArray[Any]) -> float:
    """Mean cross-entropy of float[m, C] against int64[m]."""
    return -float(log_softmax(logits)[np.arange(len(y)), y].mean())


def score_logits(logits: Floats, y: NDArray[Any], usual: float = 1.0) -> tuple[float, float, float]:
    """(score, accuracy, log loss) of held-out examples, the loss calibrated.

    The score chooses between steps: the larger is better; by accuracy, ties broken by the loss.
    """
    loss = log_loss(fit_scale(logits, y, usual) * logits, y)
    accuracy = float((logits.argmax(axis=1) == y).mean())
    return accuracy - 1e-2 * loss, accuracy, loss


def judge_classifier(items: Sequence[Item], found: Prediction, labels: Sequence[str]) -> dict[str, Any]:
    """`metrics.classification` of a served classifier's predictions for these examples, its share for none of the
    labels left aside.
    """
    known = found.scores / np.maximum(found.scores.sum(axis=1, keepdims=True), 1e-12)
    return metrics.classification([item.label or "" for item in items], known, labels, none=found.none)


def judgement_of(
    taught: Sequence[Item],
    items: Sequence[Item],
    found: Prediction,
    labels: Sequence[str],
    on: Literal["test", "validation"],
) -> Judgement:
    """What a classifier that learned from `taught` said of the items, whatever its share for none of the labels."""
    return Judgement(taught, items, [labels[index] for index in found.scores.argmax(axis=1)], on)
