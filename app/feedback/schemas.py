"""Requests and replies of review and feedback."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.feedback.decisions import Decision, Verdict
from app.http.bodies import Page, RequestBody, with_example
from app.http.fields import FIRST_WRONG

_ID = "3f2a6a0e-7a51-4a8c-9d0e-0c6f5a4c2b1d"
_WHEN = "2026-01-31T12:00:00Z"
_PICTURE: dict[str, Any] = {
    "id": _ID,
    "created_at": _WHEN,
    "request_id": "5f3c1b2a9d8e7f60",
    "image": f"/v1/collections/kitchen/review/{_ID}/image",
    "scores": [{"label": "coffee_mug", "score": 0.41}, {"label": "teapot", "score": 0.38}],
    "margin": 0.03,
    "rejected": False,
    "guess": "coffee_mug",
    "scored_version": 12,
}
_DECIDED: dict[str, Any] = {
    "id": _ID,
    "decision": "relabelled",
    "label": "teapot",
    "example": "8a0f4c3e-7d55-4b61-9c0e-2f6f6a1c9d10",
    "collection_version": 13,
    "waiting": 11,
}
_TAUGHT: dict[str, Any] = {
    "example": "8a0f4c3e-7d55-4b61-9c0e-2f6f6a1c9d10",
    "label": "teapot",
    "collection": "kitchen",
    "collection_version": 13,
    "decision": "relabelled",
    "other_labels": [],
    "replaced_labels": [],
}
_STATS: dict[str, Any] = {
    "waiting": 11,
    "decided": 25,
    "right": 20,
    "relabelled": 3,
    "none": 2,
    "skipped": 1,
    "agreement": 0.8,
    "curve": [{"decided": 20, "agreement": 0.75}, {"decided": 25, "agreement": 0.85}],
}


class GuessScore(BaseModel):
    """One label and how likely it is."""

    label: str
    score: float = Field(description="Calibrated probability.")


class ReviewPictureInfo(BaseModel):
    """A picture that waits for a person to say what it shows."""

    model_config = with_example(_PICTURE)

    id: uuid.UUID
    created_at: datetime
    request_id: str = Field(description="Of the request that asked about it.")
    image: str = Field(description="Where its thumbnail is.")
    scores: list[GuessScore] = Field(description="The likeliest labels, best first, at most ten.")
    margin: float = Field(description="How far the best score is ahead of the second.")
    rejected: bool = Field(description="Whether the best score is below the collection's threshold.")
    guess: str = Field(description="The likeliest label, also of a rejected picture: what `right` confirms.")
    scored_version: int = Field(description="The collection's version that the scores are of.")


class ReviewPage(Page[ReviewPictureInfo]):
    """A page of the review queue."""

    model_config = with_example({"data": [_PICTURE], "next": None})


class DecisionRequest(RequestBody):
    """What a picture shows: a label, or a decision."""

    model_config = with_example({"label": "teapot"})

    label: str | None = Field(None, description="The label that it shows; a new one is made.")
    decision: Literal["right", "none", "skip"] | None = Field(
        None,
        description="`right`: it shows the guess; `none`: it shows none of the labels, which is remembered and not"
        " taught; `skip`: nobody can tell.",
    )
    guess: str | None = Field(
        None,
        description="With `right`, the guess that was shown: 409 `guess_changed` where it is another one by now.",
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> DecisionRequest:
        if (self.label is None) == (self.decision is None):
            raise ValueError("give `label` or `decision`, one of the two")
        if self.guess is not None and self.decision != "right":
            raise ValueError("`guess` goes with the decision `right`")
        return self

    def to_verdict(self, label: str | None) -> Verdict:
        """The same, with the label as it is kept."""
        if self.decision is None:
            return Verdict("label", label=label)
        return Verdict(self.decision, guess=self.guess)


class BulkDecisionRequest(DecisionRequest):
    """The same for several pictures: all of them or none."""

    model_config = with_example({"ids": [_ID], "label": "teapot"})

    ids: Annotated[list[uuid.UUID], FIRST_WRONG] = Field(min_length=1, description="The pictures.")


class ReviewDecisionInfo(BaseModel):
    """A picture after a decision on it, or after that was undone."""

    model_config = with_example(_DECIDED)

    id: uuid.UUID
    decision: Decision | None = Field(
        description="`right`, `relabelled` (another label than the guess), `none` or `skip`; null where it waits again."
    )
    label: str | None = Field(description="What was taught; null where nothing was.")
    example: uuid.UUID | None = Field(description="The example that shows it.")
    collection_version: int
    waiting: int = Field(description="How many pictures of the collection still wait.")


class ReviewDecisionList(BaseModel):
    """One entry a picture, in the order of the ids."""

    model_config = with_example({"data": [_DECIDED]})

    data: list[ReviewDecisionInfo]


class CurvePoint(BaseModel):
    """A point of the learning curve."""

    model_config = ConfigDict(from_attributes=True)

    decided: int
    agreement: float = Field(description="Of the last 20 decisions at that point.")


class ReviewStats(BaseModel):
    """How many pictures wait, and how often people agreed, in review and by feedback together."""

    model_config = with_example(_STATS)

    waiting: int
    decided: int = Field(description="`right`, `relabelled` and `none` together.")
    right: int = Field(
        description="The guess was right, or the picture was rejected and shows none of the labels."
    )
    relabelled: int
    none: int = Field(description="A label was predicted, and the picture shows none of them.")
    skipped: int
    agreement: float | None = Field(description="`right` of `decided`; null where nothing is decided.")
    curve: list[CurvePoint] = Field(description="At most 200 points, the oldest first.")


class FeedbackInfo(BaseModel):
    """The result of feedback."""

    model_config = with_example(_TAUGHT)

    example: uuid.UUID | None = Field(description="The example that was taught; null where nothing was.")
    label: str | None
    collection: str
    collection_version: int
    decision: Decision | None = Field(
        description="How it counts: `right`, `relabelled` or `none`; null where the collection knew no label yet, and"
        " after `undo`."
    )
    other_labels: list[str] = Field(description="Other labels that the same picture has in this collection.")
    replaced_labels: list[str] = Field(
        description="Labels that the picture lost: by `replace`, or what feedback had taught before `none` or `undo`."
    )
