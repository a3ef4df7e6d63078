"""Requests and replies of classification, learning, search and embeddings."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from app.collections.changes import LABEL_SHARES_HELP, ReviewSpan
from app.collections.coverage import ShortfallCode
from app.heads import LabelShares
from app.heads.conformal import Guarantee
from app.http.bodies import Page, RequestBody, with_example
from app.http.names import CollectionName

_ID = "8a0f4c3e-7d55-4b61-9c0e-2f6f6a1c9d10"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_WHEN = "2026-01-31T12:00:00Z"
_HIT: dict[str, Any] = {
    "id": _ID,
    "label": "coffee_mug",
    "similarity": 0.87,
    "image": f"/v1/collections/kitchen/examples/{_ID}/image",
}
_CLASSIFICATION: dict[str, Any] = {
    "label": "coffee_mug",
    "scores": [
        {"label": "coffee_mug", "score": 0.91, "similarity": 0.83},
        {"label": "teapot", "score": 0.02, "similarity": 0.41},
    ],
    "rejected": False,
    "none": 0.07,
    "model": "lite",
    "collection": "default",
    "timing_ms": {"decode": 2.1, "embed": 11.4, "score": 0.2, "total": 14.0},
    "answer_set": {"coverage": 0.9, "guarantee": "label", "labels": ["coffee_mug"], "warnings": []},
    "neighbours": [_HIT],
}
_COLLECTION: dict[str, Any] = {
    "name": "kitchen",
    "encoder": "lite",
    "version": 12,
    "label_shares": "equal",
    "review": {"keep": 500, "days": 30},
    "labels": 3,
    "examples": 12,
    "answers": 5,
    "created_at": _WHEN,
}
_EXAMPLE: dict[str, Any] = {
    "id": _ID,
    "label": "coffee_mug",
    "collection": "kitchen",
    "image_sha256": _SHA256,
    "image": f"/v1/collections/kitchen/examples/{_ID}/image",
}
_ADDED: dict[str, Any] = _EXAMPLE | {"created": True, "other_labels": ["teacup"], "replaced_labels": []}
_LABEL: dict[str, Any] = {"label": "coffee_mug", "description": "ceramic white mug", "examples": 4}


class Hit(BaseModel):
    """An example near what was asked for."""

    model_config = with_example(_HIT)

    id: uuid.UUID
    label: str
    similarity: float = Field(description="Cosine.")
    image: str = Field(description="Where its thumbnail is.")


class Score(BaseModel):
    """One label and how likely it is."""

    label: str
    score: float = Field(description="Calibrated probability.")
    similarity: float | None = Field(
        description="Cosine to the nearest of at most 16 exemplars of the label; null in zero-shot."
    )


class Timing(BaseModel):
    """Where the time of an answer went, in milliseconds; of all images of the request together."""

    decode: float
    embed: float
    score: float
    total: float


class AnswerSetWarning(BaseModel):
    """What to know of an answer set before relying on it."""

    code: ShortfallCode = Field(
        description="Why nothing is promised: `no_examples`, `trained_model`, `one_label` or `too_few_examples`; or"
        " `labels_always_in`: the promise holds, but some labels have too few examples ever to be left out."
    )
    sentence: str


class AnswerSet(BaseModel):
    """The labels that the image may show, if it shows any of them."""

    coverage: float = Field(description="The probability that was asked for.")
    guarantee: Guarantee = Field(
        description="What holds the right label with that probability: `label`, the sets of each label's images;"
        " `average`, those of images that come as often from each label as the examples do; `none`, nothing promised:"
        " the likeliest labels until their scores add up to it."
    )
    labels: list[str] = Field(
        description="The likeliest first; at least one, also of an image that is rejected."
    )
    warnings: list[AnswerSetWarning]


class Classification(BaseModel):
    """What an image shows."""

    model_config = with_example(_CLASSIFICATION)

    label: str | None = Field(description="The likeliest label; null where it is rejected.")
    scores: list[Score] = Field(description="The likeliest labels, best first, at most `top_k`.")
    rejected: bool = Field(description="Whether the best score is below the threshold.")
    none: float = Field(description="Probability of none of these labels; with all scores it adds up to 1.")
    model: str
    collection: str | None = Field(description="Null in zero-shot.")
    timing_ms: Timing
    answer_set: AnswerSet | None = Field(None, description="Only where `coverage` was given.")
    neighbours: list[Hit] | None = Field(
        None,
        description="Only where `neighbours` were asked for: the nearest examples, best first; empty where labels by"
        " name or a trained model answered, which have no examples here.",
    )


class Classifications(BaseModel):
    """Several images, in the order in which they came."""

    model_config = with_example({"data": [_CLASSIFICATION]})

    data: list[Classification]


class CollectionRequest(RequestBody):
    """A collection to make."""

    model_config = with_example({"name": "kitchen"})

    name: CollectionName = Field(description="Lower-case letters, digits, '-' and '_'; at most 63.")
    encoder: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="The encoder it is bound to, one of `/models`; the service's default if empty."
    )
    label_shares: LabelShares = Field("equal", description=LABEL_SHARES_HELP)


class CollectionInfo(BaseModel):
    """A collection and how much is in it."""

    model_config = with_example(_COLLECTION)

    name: str
    encoder: str
    version: int = Field(description="Grows by one with each change of its examples, descriptions or shares.")
    label_shares: LabelShares = Field(description=LABEL_SHARES_HELP)
    review: ReviewSpan | None = Field(
        description="What it keeps for review; null where it keeps no pictures."
    )
    labels: int
    examples: int = Field(description="Images with a label.")
    answers: int = Field(description="Examples of questions with their answers.")
    created_at: datetime


class CollectionList(Page[CollectionInfo]):
    """A page of collections, by name."""

    model_config = with_example({"data": [_COLLECTION], "next": None})


class _ExampleFields(BaseModel):
    id: uuid.UUID
    label: str
    collection: str
    image_sha256: str = Field(description="Of the stored image, which is upright and without metadata.")
    image: str = Field(description="Where its thumbnail is.")


class ExampleInfo(_ExampleFields):
    """One image of one label."""

    model_config = with_example(_EXAMPLE | {"created_at": _WHEN})

    created_at: datetime


class AddedExample(_ExampleFields):
    """An example just taught."""

    model_config = with_example(_ADDED)

    created: bool = Field(description="False where the same image had this label before.")
    other_labels: list[str] = Field(
        description="Other labels that the same image has in this collection; `replace` takes them away."
    )
    replaced_labels: list[str] = Field(description="Labels that `replace` took away from the image.")


class AddedExamples(BaseModel):
    """One entry an image, in the order in which they came."""

    model_config = with_example({"data": [_ADDED]})

    data: list[AddedExample]


class ExampleList(Page[ExampleInfo]):
    """A page of examples, by label."""

    model_config = with_example({"data": [_EXAMPLE | {"created_at": _WHEN}], "next": None})


class LabelInfo(BaseModel):
    """One label of a collection."""

    model_config = with_example(_LABEL)

    label: str
    description: str
    examples: int


class LabelList(Page[LabelInfo]):
    """A page of labels, by name."""

    model_config = with_example({"data": [_LABEL], "next": None})


class SearchResult(BaseModel):
    """The nearest examples, best first."""

    model_config = with_example({"data": [_HIT], "model": "lite", "collection": "kitchen"})

    data: list[Hit]
    model: str
    collection: str


class Embedding(BaseModel):
    """One vector, in OpenAI's shape."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(description="Numbers, or base64 of little-endian float32.")


class Usage(BaseModel):
    """How much was embedded; images and texts count one each."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """Vectors of unit length in the order of the inputs; in a form, images come before texts."""

    model_config = with_example(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456, 0.0789]}],
            "model": "lite",
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        }
    )

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


def image_url(collection: str, example_id: uuid.UUID) -> str:
    """Where an example's thumbnail is."""
    return f"/v1/collections/{collection}/examples/{example_id}/image"


def to_hit(collection: str, example_id: uuid.UUID, label: str, similarity: float) -> Hit:
    """An example near what was asked for, as clients see it."""
    return Hit(id=example_id, label=label, similarity=similarity, image=image_url(collection, example_id))
