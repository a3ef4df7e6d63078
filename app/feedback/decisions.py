"""Decisions that a person can make about an answer, and their results."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Literal

Decision = Literal["right", "relabelled", "none", "skip"]
"""What is remembered: the guess was right, another label is, none of them is, or nobody could tell."""


@dataclass(frozen=True)
class Verdict:
    """The decision of a person: a label, that the guess is right, that no label fits, or skip."""

    kind: Literal["label", "right", "none", "skip"]
    label: str | None = None
    """Of the kind `label`."""
    guess: str | None = None
    """The guess that the person saw and calls right; None takes it as it is kept."""
    replace: bool = False
    """Whether a picture that shows a label loses the other ones that it has."""

    def decide(self, guess: str) -> tuple[Decision, str | None]:
        """What it comes to for a picture with this guess, and the label that the picture then has."""
        if self.kind == "label":
            return ("right" if self.label == guess else "relabelled"), self.label
        if self.kind == "right":
            return "right", guess
        return self.kind, None


@dataclass(frozen=True)
class ReviewDecision:
    """A picture of the queue after a decision on it, or after that was undone."""

    id: uuid.UUID
    decision: Decision | None
    label: str | None
    example: uuid.UUID | None
    collection_version: int
    waiting: int
    """How many pictures of the collection still wait."""
    replaced_labels: tuple[str, ...] = ()
    """Labels that the picture lost."""


@dataclass(frozen=True)
class FeedbackResult:
    """The result of feedback."""

    example: uuid.UUID | None
    label: str | None
    collection_version: int
    decision: Decision | None
    """None where the collection could say nothing of the picture, since it had been taught nothing, and where what was
    said is taken back.
    """
    other_labels: tuple[str, ...] = ()
    """Labels of the collection that the same picture teaches besides."""
    replaced_labels: tuple[str, ...] = ()
    """Labels that the picture lost."""


@dataclass(frozen=True)
class AgreementPoint:
    """The agreement over the last decisions, after `decided` decisions."""

    decided: int
    agreement: float


@dataclass(frozen=True)
class Stats:
    """How many pictures wait, and how often people agreed."""

    waiting: int
    right: int
    relabelled: int
    none: int
    skipped: int
    curve: list[AgreementPoint]

    @property
    def decided(self) -> int:
        """Pictures that were decided, skipped ones excluded."""
        return self.right + self.relabelled + self.none

    @property
    def agreement(self) -> float | None:
        """The share of guesses that were right; None before the first decision."""
        return self.right / self.decided if self.decided else None
