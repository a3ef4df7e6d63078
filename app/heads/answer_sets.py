"""Sets of labels for a wanted coverage: conformal where left-out examples promise it, by the scores alone elsewhere."""

from __future__ import annotations

import numpy as np

from app.heads.conformal import AnswerSet, Conformal
from app.heads.types import Floats


def answer_sets(conformal: Conformal | None, scores: Floats, coverage: float) -> list[AnswerSet]:
    """A set for each row of `scores` float32[m, C], the likeliest label first, none of them empty.

    Where nothing is promised, a set holds the likeliest labels until their scores, the share for none of the labels
    left out, add up to `coverage`. Raises ValueError for a coverage outside 0 to 1.
    """
    if conformal is not None and conformal.guarantee != "none":
        return conformal.answer_sets(scores, coverage)
    if not 0.0 < coverage < 1.0:
        raise ValueError(f"coverage must lie between 0 and 1, not be {coverage}")
    sets = []
    for row in scores.astype(np.float64):
        labels = np.argsort(-row, kind="stable")
        sums = np.cumsum(row[labels]) / max(float(row.sum()), 1e-30)
        sets.append(AnswerSet(labels[: int(np.searchsorted(sums, coverage)) + 1], "none"))
    return sets
