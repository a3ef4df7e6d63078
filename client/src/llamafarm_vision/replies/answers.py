"""Replies about questions and captions."""

from __future__ import annotations

from datetime import datetime

from llamafarm_vision.replies.base import ReplyModel


class TokenUsage(ReplyModel):
    """Tokens by the model's own count; an image's count as prompt tokens where the model has such."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerTiming(ReplyModel):
    """Where the time of an answer went, in milliseconds."""

    decode: float
    examples: float
    """Choosing examples."""
    generate: float
    """From waiting for the model to its last token."""
    total: float


class AnswerWarning(ReplyModel):
    """What to know of an answer before believing it."""

    code: str
    """`outside_domain`: the picture is unlike anything that the model knows, so the answer is a guess."""
    sentence: str


class UsedExample(ReplyModel):
    """An answer example that the model saw, the most similar first."""

    id: str
    question: str
    answer: str
    similarity: float


class Answer(ReplyModel):
    """The answer to a question about an image."""

    answer: str
    model: str
    examples_used: list[UsedExample]
    finish_reason: str
    """`stop`: the model ended by itself; `length`: it was cut at `max_new_tokens`."""
    usage: TokenUsage
    timing_ms: AnswerTiming
    warnings: list[AnswerWarning]


class Caption(ReplyModel):
    """What an image shows, in words."""

    caption: str
    model: str
    finish_reason: str
    usage: TokenUsage
    timing_ms: AnswerTiming
    warnings: list[AnswerWarning]


class AnswerPiece(ReplyModel):
    """A piece of an answer that is streamed; the last one has no text, but the whole `reply`."""

    text: str = ""
    reply: Answer | None = None


class CaptionPiece(ReplyModel):
    """A piece of a caption that is streamed; the last one has no text, but the whole `reply`."""

    text: str = ""
    reply: Caption | None = None


class AnswerExample(ReplyModel):
    """A question about an image and its answer."""

    id: str
    question: str
    answer: str
    collection: str
    image_sha256: str
    image: str
    """Where its thumbnail is."""
    created_at: datetime


class AddedAnswerExample(AnswerExample):
    """An answer example just taught."""

    created: bool
    """False where this question about this image was there before; its answer is the new one."""
