"""Folders of models that change another one: encoders by their `vision.json`, adapters by peft's configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.inference.errors import ModelUnavailableError
from app.inference.sources import EncoderSource, read_json

ADAPTER = "adapter_config.json"


def read_adapted_note(folder: Path) -> dict[str, Any] | None:
    """What `vision.json` says of a folder that changes another encoder; None for any other folder."""
    try:
        note = json.loads((folder / "vision.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) and note.get("adapted") in ("peft", "tail", "full") else None


def is_adapter(source: EncoderSource) -> bool:
    """Whether the name leads to an adapter over another model."""
    return source.is_local and (Path(source.location) / ADAPTER).is_file()


def adapter_base(folder: Path) -> str:
    """The name of the model that an adapter changes; raises ModelUnavailableError."""
    base = None
    if (folder / "vision.json").is_file():
        base = read_json(folder, "vision.json").get("base_model")
    base = base or read_json(folder, ADAPTER).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelUnavailableError(f"The adapter '{folder.name}' does not name its base model.")
    return base
