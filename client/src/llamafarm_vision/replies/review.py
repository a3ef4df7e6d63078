"""Replies about review and feedback: unsure pictures, what people decided of them, and how often they agreed."""

from __future__ import annotations

from datetime import datetime

from llamafarm_vision.replies.base import ReplyModel


class ReviewSpan(ReplyModel):
    """How much a collection keeps for review."""

    keep: int
    """Most pictures; the surest leave first."""
    days: int
    """None is kept longer."""


class GuessScore(ReplyModel):
    """One label and how likely it is."""

    label: str
    score: float
    """Calibrated probability."""


class ReviewPicture(ReplyModel):
    """A picture that waits for a person to say what it shows."""

    id: str
    created_at: datetime
    request_id: str
    """Of the request that asked about it."""
    image: str
    """Where its thumbnail is."""
    scores: list[GuessScore]
    """The likeliest labels, best first."""
    margin: float
    """How far the best score is ahead of the second."""
    rejected: bool
    """Whether the best score is below the collection's threshold."""
    guess: str
    """The likeliest label: what `right` confirms."""
    scored_version: int
    """The collection's version that the scores are of."""


class ReviewDecision(ReplyModel):
    """A picture after a decision on it, or after that was undone."""

    id: str
    decision: str | None
    """`right`, `relabelled`, `none` or `skip`; None where it waits again."""
    label: str | None
    """What was taught; None where nothing was."""
    example: str | None
    """The example that shows it."""
    collection_version: int
    waiting: int
    """How many pictures of the collection still wait."""


class CurvePoint(ReplyModel):
    """A point of the learning curve."""

    decided: int
    agreement: float
    """Of the last 20 decisions at that point."""


class ReviewStats(ReplyModel):
    """How many pictures wait, and how often people agreed."""

    waiting: int
    decided: int
    """`right`, `relabelled` and `none` together."""
    right: int
    """The guess was right, or the picture was rejected and shows none of the labels."""
    relabelled: int
    none: int
    skipped: int
    agreement: float | None
    """`right` of `decided`; None where nothing is decided."""
    curve: list[CurvePoint]


class Feedback(ReplyModel):
    """The result of feedback."""

    example: str | None
    """The example that was taught; None where nothing was."""
    label: str | None
    collection: str
    collection_version: int
    decision: str | None
    """How it counts: `right`, `relabelled` or `none`; None where the collection knew no label yet, or after `undo`."""
    other_labels: list[str]
    """Other labels that the same picture has in this collection."""
    replaced_labels: list[str]
    """Labels that the picture lost: by `replace`, or what feedback had taught before `none` or `undo`."""
