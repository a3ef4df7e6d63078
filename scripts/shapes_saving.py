"""Writing a finished checkpoint folder: half the bytes on disk, full precision in memory."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
from transformers import PreTrainedModel, ProcessorMixin


def save_checkpoint(model: PreTrainedModel, processor: ProcessorMixin, folder: Path) -> None:
    """Weights as float16 safetensors with `dtype: float32` in the configuration, so that loading
    computes in float32 unless told otherwise; processor, tokenizer and chat template beside them."""
    copy.deepcopy(model).to(torch.float16).save_pretrained(folder)
    processor.save_pretrained(folder)
    config = folder / "config.json"
    config.write_text(json.dumps(_for_anyone(json.loads(config.read_text())), indent=2) + "\n")
    for file in folder.iterdir():
        file.chmod(0o644)


def _for_anyone(value: object) -> object:
    """The same configuration with every dtype it names set to float32, and without this machine's paths."""
    if not isinstance(value, dict):
        return value
    named = {k: _for_anyone(v) for k, v in value.items() if k != "_name_or_path"}
    return {k: "float32" if k == "dtype" else v for k, v in named.items()}
