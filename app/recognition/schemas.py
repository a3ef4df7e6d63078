"""What travels when something is recognised, learned, searched or embedded.

Knows shapes, bounds and examples for the documentation page; knows nothing of how answers come about.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.recognition.names import COLLECTION_PATTERN

CollectionName = Annotated[str, StringConstraints(pattern=COLLECTION_PATTERN)]


class Score(BaseModel):
    """One label and how likely it is."""

    label: str
    score: float = Field(description="Calibrated probability.")
    similarity: float | None = Field(
        description="Cosine to the nearest of at most 16 exemplars of the label; null in zero-shot."
    )


class Timing(BaseModel):
    """Where the time of an answer went, in milliseconds."""

    decode: float
    embed: float
    score: float
    total: float


class Classification(BaseModel):
    """What an image shows."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "label": "coffee_mug",
                    "scores": [{"label": "coffee_mug", "score": 0.91, "similarity": 0.83}],
                    "rejected": False,
                    "none": 0.07,
                    "model": "lite",
                    "collection": "default",
                    "timing_ms": {"decode": 2.1, "embed": 11.4, "score": 0.2, "total": 14.0},
                }
            ]
        }
    )

    label: str | None = Field(description="The likeliest label; null where it is rejected.")
    scores: list[Score] = Field(description="The likeliest labels, best first, at most `top_k`.")
    rejected: bool = Field(description="Whether the best score is below the threshold.")
    none: float = Field(description="Probability of none of these labels; with all scores it adds up to 1.")
    model: str
    collection: str | None = Field(description="Null in zero-shot.")
    timing_ms: Timing


class Classifications(BaseModel):
    """Several images, in the order in which they came."""

    data: list[Classification]


class CollectionRequest(BaseModel):
    """A collection to make."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "kitchen"}]})

    name: CollectionName
    encoder: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="The encoder it is bound to; the service's default if empty."
    )


class CollectionInfo(BaseModel):
    """A collection and how much is in it."""

    name: str
    encoder: str
    version: int = Field(description="Grows by one with each change of its examples.")
    labels: int
    examples: int
    created_at: datetime


class CollectionList(BaseModel):
    """A page of collections, by name."""

    data: list[CollectionInfo]
    next: str | None = Field(description="Pass as `cursor` for the next page.")


class ExampleInfo(BaseModel):
    """One image of one label."""

    id: uuid.UUID
    label: str
    collection: str
    image_sha256: str
    image: str = Field(description="Where its thumbnail is.")
    created_at: datetime | None = None


class AddedExample(BaseModel):
    """An example just taught; `created` is false where the same image had this label before."""

    id: uuid.UUID
    label: str
    collection: str
    image_sha256: str
    image: str
    created: bool


class AddedExamples(BaseModel):
    """One entry an image, in the order in which they came."""

    data: list[AddedExample]


class ExampleList(BaseModel):
    """A page of examples, by label."""

    data: list[ExampleInfo]
    next: str | None = Field(description="Pass as `cursor` for the next page.")


class LabelInfo(BaseModel):
    """One label of a collection."""

    label: str
    description: str
    examples: int


class LabelList(BaseModel):
    """A page of labels, by name."""

    data: list[LabelInfo]
    next: str | None = Field(description="Pass as `cursor` for the next page.")


class Hit(BaseModel):
    """An example near what was asked for."""

    id: uuid.UUID
    label: str
    similarity: float = Field(description="Cosine.")
    image: str


class SearchResult(BaseModel):
    """The nearest examples, best first."""

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
    """Vectors of unit length in the order of the inputs, images before texts in a form."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


def image_url(collection: str, example_id: uuid.UUID) -> str:
    """Where an example's thumbnail is."""
    return f"/v1/collections/{collection}/examples/{example_id}/image"
