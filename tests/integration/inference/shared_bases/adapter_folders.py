"""Folders of adapters over `llava-shapes`, as peft writes them, and copies of them over a base of their own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import LlavaForConditionalGeneration

from app.inference.sources import CHECKPOINTS

BASE = CHECKPOINTS / "llava-shapes"


ATTENTION = ["q_proj", "v_proj"]


def save_adapter(
    folder: Path, seed: int, layers: list[str], whole: list[str] | None = None, *, by: float = 0.3
) -> Path:
    """An adapter that changes what the base says, as peft writes it."""
    model = LlavaForConditionalGeneration.from_pretrained(BASE)
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=4, target_modules=layers, modules_to_save=whole)
    adapted: Any = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter += by * torch.randn_like(parameter)
    adapted.save_pretrained(folder)
    noted = json.loads((folder / "adapter_config.json").read_text())
    rewrite(folder, base_model_name_or_path="llava-shapes", target_modules=sorted(noted["target_modules"]))
    return folder


def rewrite(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def copy_with_own_base(adapters: list[Path], folder: Path) -> tuple[str, list[Path]]:
    """A base that no other model of this process shares, and the adapters over it."""
    base = shutil.copytree(BASE, folder / "own")
    (base / "note.txt").write_text(
        str(folder)
    )  # counts in the fingerprint, which is what models share a base by
    over = [shutil.copytree(adapter, folder / adapter.name) for adapter in adapters]
    for adapter in over:
        rewrite(adapter, base_model_name_or_path=str(base))
    return str(base), over
