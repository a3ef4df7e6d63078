"""Sets of labels that hold the truth with a wanted probability, from scores of examples that were left out.

Split-conformal prediction (Vovk, Gammerman and Shafer 2005) with the score of the true label as conformity (Sadinle,
Lei and Wasserman 2019): a quantile for each label where there are enough examples of it (Mondrian, or
label-conditional, prediction: Vovk 2012), and one for the rest together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from app.heads.types import Doubles, Floats, Ints, softmax

ENOUGH_OF_LABEL = 20
"""Left-out examples of a label from which on it has a quantile of its own."""
ENOUGH_IN_ALL = 20
"""Left-out examples of several labels from which on they share a quantile."""

Guarantee = Literal["label", "average", "none"]
"""What holds with the wanted probability: `label`, for images of each label by itself; `average`, over images that come
as often from each label as the examples do; `none`, nothing: there are too few examples to say."""


class AnswerSet(NamedTuple):
    """The labels that an image may show."""

    labels: Ints
    """int64[k]: positions of the labels, the best first; at least one."""
    guarantee: Guarantee


@dataclass(frozen=True)
class Conformal:
    """How high the right label scores for examples that the head has not seen, by label.

    A guarantee in the strict sense needs examples and images in exchangeable order and a head that was fitted on
    neither. Here each example is left out in turn (as in the jackknife+, Barber, Candes, Ramdas and Tibshirani 2021),
    and the scales of the logits are fitted on the same left-out scores: the bound that can be proved is weaker
    (1 - 2 (1 - coverage) for the jackknife+), what is measured is within 2 points (docs/learning.md).
    """

    conformity: tuple[Doubles, ...]
    """A label: ascending float64[n], logarithms of the odds of the right label for its left-out examples."""

    @property
    def guarantee(self) -> Guarantee:
        """What the sets hold to, at whatever coverage."""
        counts = [len(values) for values in self.conformity]
        if len(counts) < 2 or not min(counts):
            return "none"
        if min(counts) >= ENOUGH_OF_LABEL:
            return "label"
        return "average" if sum(counts) >= ENOUGH_IN_ALL else "none"

    def least(self, coverage: float) -> Doubles:
        """float64[C]: the least log-odds at which each label belongs to a set, -inf where it always does.

        Labels with few examples share a quantile among them; if even those together are too few, among all labels.
        Raises ValueError for a coverage outside 0 to 1.
        """
        if not 0.0 < coverage < 1.0:
            raise ValueError(f"coverage must lie between 0 and 1, not be {coverage}")
        few = [values for values in self.conformity if len(values) < ENOUGH_OF_LABEL]
        shared = np.concatenate([*few, np.zeros(0)])
        if few and len(shared) < ENOUGH_IN_ALL:
            shared = np.concatenate(self.conformity)
        of_few = _quantile(np.sort(shared), coverage)
        return np.array(
            [
                _quantile(values, coverage) if len(values) >= ENOUGH_OF_LABEL else of_few
                for values in self.conformity
            ]
        )

    def rearrange(self, order: Ints) -> Conformal:
        """Label `order[i]` becomes label i."""
        return replace(self, conformity=tuple(self.conformity[i] for i in order))

    def answer_sets(self, scores: Floats, coverage: float, *, allow_empty: bool = False) -> list[AnswerSet]:
        """A set for each row of `scores` float32[m, C] of the labels, as a head gives them.

        The share for none of the labels is left out: a set is about which label an image shows if it shows any.
        Where the head alone is right more often than `coverage`, sets of one label hold the truth more often than
        was asked for; `allow_empty` keeps to `coverage` even then, by sets without any label for the least typical
        images. Raises ValueError for a coverage outside 0 to 1.
        """
        inside = log_odds(scores.astype(np.float64)) >= self.least(coverage)
        sets = []
        for row, chosen in zip(scores, inside, strict=True):
            labels = np.argsort(-row, kind="stable")
            kept = labels[chosen[labels]]
            sets.append(AnswerSet(kept if len(kept) or allow_empty else labels[:1], self.guarantee))
        return sets


def fit_conformal(logits: Doubles, labels: Ints, counts: Ints) -> Conformal:
    """From held-out logits float64[r, p] over the labels that have examples, and the right label int64[r] of each row.

    `counts` int64[C] are the examples of all labels. An example that is the only one of its label cannot be left out
    (nothing would be known of the label), so that it counts as one whose right label scores nothing.
    """
    position = np.searchsorted(np.flatnonzero(counts), labels)
    odds = log_odds(softmax(logits))[np.arange(len(labels)), position]
    conformity = [np.sort(odds[labels == label]) for label in range(len(counts))]
    if len(labels):
        for label in np.flatnonzero(counts == 1).tolist():
            conformity[label] = np.array([-np.inf])
    return Conformal(tuple(conformity))


def log_odds(scores: Doubles) -> Doubles:
    """float64[m, C]: of each label against the others, for scores whose rows may add up to less than one."""
    total = np.maximum(scores.sum(axis=1, keepdims=True), 1e-30)
    share = np.clip(scores / total, 1e-30, 1.0)
    rest = np.clip((total - scores) / total, 1e-7, 1.0)  # float32 knows no finer step below one
    odds: Doubles = np.log(share) - np.log(rest)
    return odds


def _quantile(ascending: Doubles, coverage: float) -> float:
    """The value that a new one of the same kind reaches with probability `coverage`.

    A new value lies below the k-th of n with probability k / (n + 1); between two of them it is interpolated, so that
    few examples do not make the sets larger than they need be.
    """
    place = (len(ascending) + 1) * (1.0 - coverage)
    below = min(int(place + 1e-9), len(ascending))
    if below < 1:
        return -np.inf
    low = ascending[below - 1]
    high = ascending[min(below, len(ascending) - 1)]
    if not np.isfinite(low):
        return float(low)
    return float(low + (place - below) * (high - low))
