"""Prediction sets: labels that include the right one with a chosen probability, and why where none is guaranteed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from app.heads import Head
from app.heads.answer_sets import answer_sets
from app.heads.conformal import ENOUGH_IN_ALL, ENOUGH_OF_LABEL, Guarantee
from app.heads.novelty import ENOUGH
from app.heads.types import Floats, Ints
from app.models.classifiers import TrainedClassifier

ShortfallCode = Literal["no_examples", "trained_model", "one_label", "too_few_examples", "labels_always_in"]


@dataclass(frozen=True)
class Shortfall:
    """Why sets guarantee no coverage, or less than they could."""

    code: ShortfallCode
    sentence: str


@dataclass(frozen=True)
class PredictionSets:
    """The sets of all images of a request."""

    coverage: float
    guarantee: Guarantee
    sets: list[Ints]
    """An image: positions of its labels, the likeliest first; at least one."""
    warnings: tuple[Shortfall, ...]


def cover(head: Head | TrainedClassifier, scores: Floats, coverage: float) -> PredictionSets:
    """Sets for the rows of `scores` float32[m, C], as `head` gave them."""
    conformal = head.conformal if isinstance(head, Head) else None
    found = answer_sets(conformal, scores, coverage)
    guarantee: Guarantee = "none" if conformal is None else conformal.guarantee
    shortfall = _why_nothing(head, coverage) if guarantee == "none" else _always_in(head, coverage)
    return PredictionSets(
        coverage, guarantee, [answer.labels for answer in found], () if shortfall is None else (shortfall,)
    )


def _why_nothing(head: Head | TrainedClassifier, coverage: float) -> Shortfall:
    rest = f"The set holds the likeliest labels until their scores add up to {coverage:g}, which promises nothing"
    if isinstance(head, TrainedClassifier):
        return Shortfall(
            "trained_model",
            f"{rest}: a trained model keeps no scores of examples that it did not learn from. A collection taught the "
            "same images can promise it.",
        )
    if head.conformal is None or not len(head.counts):
        return Shortfall("no_examples", f"{rest}: these labels are known by their names alone.")
    if len(head.labels) < 2:
        return Shortfall("one_label", f"{rest}: the collection has a single label.")
    median = float(np.median(head.counts))
    return Shortfall(
        "too_few_examples",
        f"{rest}: the collection has {head.counts.sum()} different examples of {len(head.labels)} labels, a "
        f"median of {median:g}. A promise on average takes {ENOUGH_IN_ALL} examples and a median of {ENOUGH} a label; "
        f"one for each label takes {ENOUGH_OF_LABEL} of every label.",
    )


def _always_in(head: Head | TrainedClassifier, coverage: float) -> Shortfall | None:
    """That so high a coverage keeps some labels in every set, where it does."""
    if not isinstance(head, Head) or head.conformal is None:
        return None
    always = np.flatnonzero(np.isneginf(head.conformal.least(coverage)))
    if not len(always):
        return None
    needed = math.ceil(1.0 / (1.0 - coverage) - 1e-6) - 1
    labels = (
        "every label" if len(always) == len(head.labels) else f"{len(always)} of {len(head.labels)} labels"
    )
    return Shortfall(
        "labels_always_in",
        f"Each set holds {labels}, whatever the image shows: to leave a label out at a coverage of {coverage:g} "
        f"takes at least {needed} examples of it.",
    )
