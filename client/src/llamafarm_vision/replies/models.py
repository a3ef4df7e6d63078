"""Replies about models and API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from llamafarm_vision.replies.base import ReplyModel


class ModelOptimisation(ReplyModel):
    """How a model was made faster, and that it still computes the same."""

    asked: str
    level: str
    speed_up: float | None
    parity: float | None
    note: str | None


class Contender(ReplyModel):
    """How one of two models did on the same images."""

    accuracy: float
    macro_f1: float
    standard_error: float


class Comparison(ReplyModel):
    """A trained model beside the closed-form head over the same examples."""

    sentence: str = ""
    use: str | None = None
    """`head` or `trained`: which of both to use; None where neither is better for sure."""
    encoder: str | None = None
    evaluated_on: str | None = None
    images: int = 0
    head: Contender | None = None
    trained: Contender | None = None
    chance: float | None = None
    commonest: float | None = None
    commonest_label: str | None = None
    only_head: int | None = None
    only_trained: int | None = None
    p_value: float | None = None


class TrainedFacts(ReplyModel):
    """How a trained model came to be."""

    base_model: str
    method: str
    task: str
    labels: list[str] | None
    strategy: str | None
    job_id: str | None
    data: dict[str, Any]
    settings: dict[str, Any]
    seed: int | None
    metrics: dict[str, Any]
    comparison: Comparison | None = None
    parameters: int | None
    size_mb: float | None
    base_changed: bool
    note: str | None = None
    created_at: datetime


class Model(ReplyModel):
    """A model that the service has."""

    id: str
    object: str = "model"
    created: int = 0
    """When it was trained, in seconds since 1970; 0 of a model that came with the service."""
    owned_by: str = ""
    alias_of: str | None = None
    """What the id stands for, for clients that know only models; None of a model."""
    kind: str
    """`encoder`, `vlm` or `classifier`."""
    tasks: list[str] | None
    family: str
    aliases: list[str]
    default: bool
    knows: str | None = None
    """What its pictures were of, where it knows little."""
    loaded: bool
    dim: int | None
    input_size: int | None
    memory_mb: float | None
    runtime: str | None
    fingerprint: str | None
    optimisation: ModelOptimisation | None = None
    trained: TrainedFacts | None = None
    """None of a model that was not trained here."""


class Key(ReplyModel):
    """An API key as it is listed; its text is never shown again."""

    id: str
    name: str
    hint: str
    """Its first characters, to tell keys apart."""
    workspace: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None


class NewKey(Key):
    """A key just made."""

    key: str
    """What to send; shown this once."""


class Access(ReplyModel):
    """Who is calling, and what they may do."""

    workspace: str
    scopes: list[str]
    """By name; `admin` means all."""
    key_id: str | None
    key_needed: bool
    """Whether requests without a key are refused."""


class Storage(ReplyModel):
    """What a workspace stores: examples, answers, pictures kept for review, datasets and trained models."""

    workspace: str
    used_bytes: int
    max_bytes: int
    """Beyond it nothing more is taken in."""
