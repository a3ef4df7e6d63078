"""Weights of a checkpoint as a module of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from app.inference.errors import ModelUnavailableError


def load_whole(class_name: str, folder: Path, whose: str, dtype: torch.dtype, **options: Any) -> Any:
    """The module of that class; `options` go to transformers. Raises ModelUnavailableError without a tensor."""
    model, report = getattr(transformers, class_name).from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        dtype=dtype,
        output_loading_info=True,
        **options,
    )
    if report["missing_keys"]:
        raise ModelUnavailableError(f"The weights of {whose} are incomplete.")
    return model
