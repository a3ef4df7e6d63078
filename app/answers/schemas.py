"""Requests and replies of questions, captions and answer examples."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.http.bodies import Page

_USAGE: dict[str, Any] = {"prompt_tokens": 77, "completion_tokens": 1, "total_tokens": 78}


class Usage(BaseModel):
    """Tokens by the model's own count; an image's count as prompt tokens where the model has such."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Timing(BaseModel):
    """Where the time of an answer went, in milliseconds."""

    decode: float
    examples: float = Field(description="Choosing examples.")
    generate: float = Field(description="From waiting for the model to its last token.")
    total: float


class AnswerWarning(BaseModel):
    """What to know of an answer before believing it."""

    code: Literal["outside_domain"] = Field(
        description="`outside_domain`: the picture is unlike anything that the model knows, so the answer is a guess."
    )
    sentence: str


class UsedExample(BaseModel):
    """An answer example that the model saw, the most similar first."""

    id: uuid.UUID
    question: str
    answer: str
    similarity: float = Field(description="Cosine of its image to the image asked about.")


class AnswerReply(BaseModel):
    """The answer to a question about an image."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "answer": "blue",
                    "model": "llava-shapes",
                    "examples_used": [],
                    "finish_reason": "stop",
                    "usage": _USAGE,
                    "timing_ms": {"decode": 0.6, "examples": 0.0, "generate": 60.6, "total": 61.2},
                    "warnings": [],
                }
            ]
        }
    )

    answer: str
    model: str
    examples_used: list[UsedExample]
    finish_reason: Literal["stop", "length", "cancelled"] = Field(
        description="`stop`: the model ended by itself; `length`: it was cut at `max_new_tokens`."
    )
    usage: Usage
    timing_ms: Timing
    warnings: list[AnswerWarning]


class CaptionReply(BaseModel):
    """What an image shows, in words."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "caption": "a red circle",
                    "model": "llava-shapes",
                    "finish_reason": "stop",
                    "usage": _USAGE,
                    "timing_ms": {"decode": 0.6, "examples": 0.0, "generate": 69.8, "total": 70.4},
                    "warnings": [],
                }
            ]
        }
    )

    caption: str
    model: str
    finish_reason: Literal["stop", "length", "cancelled"]
    usage: Usage
    timing_ms: Timing
    warnings: list[AnswerWarning]


class AnswerExampleInfo(BaseModel):
    """A question about an image and its answer."""

    id: uuid.UUID
    question: str
    answer: str
    collection: str
    image_sha256: str
    image: str = Field(description="Where its thumbnail is.")
    created_at: datetime


class AddedAnswerExample(AnswerExampleInfo):
    """An answer example just taught."""

    created: bool = Field(
        description="False where this question about this image was there before; its answer is the new one."
    )


class AnswerExampleList(Page[AnswerExampleInfo]):
    """A page of answer examples, by id."""


def answer_image_url(collection: str, example_id: uuid.UUID) -> str:
    """Where an answer example's thumbnail is."""
    return f"/v1/collections/{collection}/answers/{example_id}/image"
