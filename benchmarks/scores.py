"""Figures by which heads are compared."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from app.heads.types import Doubles

BINS = 15


class Reliability(NamedTuple):
    """Answers sorted by their score and cut into bins of equal size; float64[b] each, b at most the number of bins."""

    confidence: Doubles
    """Mean score of a bin."""
    accuracy: Doubles
    """Share of the bin's answers that are right."""
    share: Doubles
    """Share of all answers that lie in the bin."""


def reliability(confidence: Doubles, correct: Doubles, bins: int = BINS) -> Reliability:
    """Scores float64[n] and whether each is right, float64[n] of 0 and 1, in bins of equal mass.

    Bins of equal mass do not leave most bins empty where most scores are near 1 (Nguyen and O'Connor 2015).
    """
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return Reliability(
        np.array([confidence[part].mean() for part in parts]),
        np.array([correct[part].mean() for part in parts]),
        np.array([len(part) / len(order) for part in parts]),
    )


def expected_calibration_error(confidence: Doubles, correct: Doubles, bins: int = BINS) -> float:
    """Mean |accuracy - confidence| over bins of equal mass (Guo et al. 2017, eq. 3, with such bins); 0 of nothing."""
    found = reliability(confidence, correct, bins)
    return float(found.share @ np.abs(found.accuracy - found.confidence)) if len(found.share) else 0.0


def calibration_error_by_chance(confidence: Doubles, bins: int = BINS, draws: int = 20) -> float:
    """The error above that so many answers would have if their scores were exactly right: what a bin's few answers do.

    The mean over simulated answers, each right with the probability that its score says.
    """
    rng = np.random.default_rng(0)
    drawn = [rng.random(len(confidence)) < confidence for _ in range(draws)]
    return float(
        np.mean([expected_calibration_error(confidence, right.astype(np.float64), bins) for right in drawn])
    )


def auroc(positive: Doubles, negative: Doubles) -> float:
    """The chance that a positive scores above a negative, ties half (Mann and Whitney 1947)."""
    both = np.concatenate([positive, negative])
    order = np.argsort(both, kind="stable")
    ranked = both[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ends = np.r_[starts[1:], len(both)]
    rank = np.empty(len(both))
    rank[order] = np.repeat((starts + ends + 1) / 2.0, ends - starts)
    n, m = len(positive), len(negative)
    return float((rank[:n].sum() - n * (n + 1) / 2.0) / (n * m))


def best_balance(known: Doubles, right: Doubles, unknown: Doubles) -> tuple[float, float]:
    """The best mean of (known answered rightly and accepted, unknown refused) over thresholds, and that threshold.

    `known` float64[n] and `unknown` float64[m] are best scores, `right` float64[n] is 1 where the answer is right;
    scores at the threshold are accepted.
    """
    scores = np.concatenate([known, unknown])
    order = np.argsort(-scores, kind="stable")
    gain = np.concatenate([right / len(known), np.full(len(unknown), -1.0 / len(unknown))])[order]
    values = np.concatenate([[1.0], 1.0 + np.cumsum(gain)]) / 2.0
    # Equal scores are accepted together.
    ends = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0, True])
    best = ends[int(np.argmax(values[ends]))]
    threshold = np.inf if best == 0 else float(scores[order][best - 1])
    return float(values[best]), threshold


def balanced_accuracy(answers: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the labels of the share of their images that are answered rightly; int64[n] each."""
    return float(np.mean([np.mean(answers[truth == label] == label) for label in np.unique(truth)]))


class PairedDifference(NamedTuple):
    """How far one method is ahead of another on the same episodes."""

    difference: float
    error: float
    """Standard error of the mean difference."""
    wins: int
    losses: int


def compare_paired(ours: Doubles, theirs: Doubles) -> PairedDifference:
    """Of float64[n] figures, episode by episode."""
    ahead = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    error = float(ahead.std(ddof=1) / np.sqrt(len(ahead))) if len(ahead) > 1 else 0.0
    return PairedDifference(float(ahead.mean()), error, int((ahead > 0).sum()), int((ahead < 0).sum()))
