"""The scores of one picture, as the review queue stores and shows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.heads import Prediction

MAX_SCORES = 10
"""A person chooses from the likeliest labels; the others are named by hand."""


@dataclass(frozen=True)
class PredictionScores:
    """The most likely labels, best first, and the margin."""

    scores: list[tuple[str, float]]
    margin: float
    """How far the best score is ahead of the second; of a single label, of the chance of none."""
    rejected: bool
    version: int
    """The collection's version that said so."""

    @property
    def guess(self) -> str:
        """The likeliest label, also where it was rejected."""
        return self.scores[0][0]


def score_row(
    labels: list[str], prediction: Prediction, row: int, threshold: float, version: int
) -> PredictionScores:
    """What a head with these labels says of the row-th image; `threshold` is the least score it accepts."""
    scores = prediction.scores[row]
    order = np.argsort(-scores, kind="stable")[:MAX_SCORES]
    best = float(scores[order[0]])
    second = float(scores[order[1]]) if len(order) > 1 else float(prediction.none[row])
    return PredictionScores(
        scores=[(labels[i], float(scores[i])) for i in order],
        margin=abs(best - second),
        rejected=best < threshold,
        version=version,
    )
