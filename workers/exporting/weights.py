"""Trained weights laid into their base, and written as safetensors in Hugging Face's format."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from app.families.changed import is_adapter, read_adapted_note
from app.families.encoders import locate
from app.families.hugging_face_training import copy_beside
from app.families.loading import VlmFiles, locate_vlm
from app.families.table import FAMILIES
from app.inference.errors import ModelTaskError
from app.inference.sources import DOMAIN_FILE, EncoderConfig
from app.settings import Settings
from workers.shared.model_files import ModelFiles, base_word


def write(found: ModelFiles, folder: Path, settings: Settings) -> dict[str, Any]:
    """The model's weights with every change merged; raises ModelTaskError where there is nothing to merge."""
    if found.card is None or found.folder is None:
        raise ModelTaskError("This model was not trained here: its weights are where it came from.")
    if found.card.kind == "vlm":
        _write_vlm(found, folder, settings)
    else:
        for name in ("vision.json", "head.safetensors"):
            shutil.copy(found.folder / name, folder / name)
        _write_encoder(found, folder, settings)
    return {"files": sorted(path.name for path in folder.iterdir())}


def _write_encoder(found: ModelFiles, folder: Path, settings: Settings) -> None:
    if found.folder is None or found.card is None:
        raise ModelTaskError("This model has no files.")
    note = read_adapted_note(found.folder)
    kind = None if note is None else note["adapted"]
    if kind == "full":
        for path in found.folder.iterdir():
            shutil.copy(path, folder / path.name)
        return
    config = EncoderConfig.from_settings(settings)
    family, base = locate(base_word(found.card, settings), config)
    family.write_merged(base, config, None if kind is None else (kind, found.folder), folder)


def merge_vlm(found: ModelFiles, settings: Settings) -> tuple[VlmFiles, Any]:
    """A vision-language model whole, in float32 on the CPU, its adapter laid into it; and the files it came from.

    Raises ModelNotFoundError and ModelUnavailableError.
    """
    config = EncoderConfig.from_settings(settings)
    source = FAMILIES.resolve("vlm", found.word)
    adapted = is_adapter(source)
    base = locate_vlm(FAMILIES.adapter_source(Path(source.location)) if adapted else source, config)
    model = base.model("cpu", torch.float32)
    if not adapted:
        return base, model
    from peft import PeftModel  # two seconds that a model without an adapter does without

    peft: Any = PeftModel.from_pretrained(model, source.location, is_trainable=False)
    return base, peft.merge_and_unload()


def _write_vlm(found: ModelFiles, folder: Path, settings: Settings) -> None:
    source = FAMILIES.resolve("vlm", found.word)
    if not is_adapter(source):
        for path in Path(source.location).iterdir():
            shutil.copy(path, folder / path.name)
        return
    base, merged = merge_vlm(found, settings)
    merged.save_pretrained(folder, safe_serialization=True)
    copy_beside(base.folder, folder)
    for place in (base.folder, Path(source.location)):  # its own domain takes the place of the base's
        if (place / DOMAIN_FILE).is_file():
            shutil.copy(place / DOMAIN_FILE, folder)
