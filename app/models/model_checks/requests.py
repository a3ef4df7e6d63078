"""What is asked of the check of an uploaded model and what it answers, for the process that asks: no checking code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel


class CheckRequest(BaseModel):
    """What a bounded child needs to know to check a model."""

    archive: Path
    folder: Path
    """Where the archive is unpacked; it must not be there yet."""
    entries: int
    ratio: int
    unpacked_bytes: int
    min_free_mb: int
    max_labels: int
    max_label_chars: int
    max_head_bytes: int


class CheckedModel(BaseModel):
    """What a bounded child found a model to be."""

    folder: Path
    """The model's files: the unpacked folder, or the one folder in it."""
    note: dict[str, Any]
    """Fields of a model's card."""
    is_changed: bool
    """Whether it has weights of an encoder or a vision-language model, which want to be tried."""
    dim: int | None
    """Length of a classifier's features."""
