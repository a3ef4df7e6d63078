"""Trained weights laid into their base, and written as safetensors in Hugging Face's format.

Knows adapters, tails and folders; knows nothing of graphs or jobs.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from app.families import files
from app.families.clip.encoder import ClipEncoder, SiglipEncoder
from app.families.encoder_source import adapted_note
from app.families.encoders import resolve
from app.families.lite.encoder import TAIL
from app.families.loading import VlmFiles, located_vlm
from app.families.vlm_source import adapter_source, is_adapter
from app.families.vlms import resolve_vlm
from app.inference.errors import ModelTaskError
from app.inference.sources import DOMAIN_FILE, EncoderConfig
from app.settings import Settings
from workers.shared.model_files import ModelFiles
from workers.shared.towers import ImageTower, image_tower

_WHOLE: dict[str, tuple[str, type[Any]]] = {
    "clip": ("CLIPModel", ClipEncoder),
    "siglip": ("SiglipModel", SiglipEncoder),
}
_BESIDE = (".json", ".txt", ".model", ".jinja")


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


def apply(tower: ImageTower, adapted: str, folder: Path) -> None:
    """Lay a trained model's changes into an image tower, whole, in place."""
    if adapted == "tail":
        tower.module.load_state_dict(load_file(folder / TAIL), strict=False)
        return
    if adapted == "peft":
        merged = _merged_clip(tower.family, folder, tower.folder or folder)
        state = merged.state_dict()
    else:
        state = load_file(folder / "model.safetensors")
    own = tower.module.state_dict()
    changed = {
        name: state[name.removeprefix("model.")] for name in own if name.removeprefix("model.") in state
    }
    tower.module.load_state_dict(changed, strict=False)


def _write_encoder(found: ModelFiles, folder: Path, settings: Settings) -> None:
    if found.folder is None or found.card is None:
        raise ModelTaskError("This model has no files.")
    note = adapted_note(found.folder)
    kind = None if note is None else note["adapted"]
    if kind == "full":
        for path in found.folder.iterdir():
            shutil.copy(path, folder / path.name)
        return
    base = resolve(found.card.base_model)
    if base.family == "lite":
        tower = image_tower(found.card.base_model, settings)
        if kind is not None:
            apply(tower, kind, found.folder)
        state = {name: one.contiguous() for name, one in tower.module.state_dict().items()}
        save_file({**state, "centre": tower.centre.contiguous()}, folder / "model.safetensors")
        return
    located = Path(files.located(base, EncoderConfig.from_settings(settings)).location)
    if kind == "peft":
        merged = _merged_clip(base.family, found.folder, located)
        merged.save_pretrained(folder, safe_serialization=True)
        _copy_beside(located, folder)
    else:
        for path in located.iterdir():
            if path.suffix in (*_BESIDE, ".safetensors") and path.name != "vision.json":
                shutil.copy(path, folder / path.name)


def merge_vlm(found: ModelFiles, settings: Settings) -> tuple[VlmFiles, Any]:
    """A vision-language model whole, in float32 on the CPU, its adapter laid into it; and the files it came from.

    Raises ModelNotFoundError and ModelUnavailableError.
    """
    config = EncoderConfig.from_settings(settings)
    source = resolve_vlm(found.word)
    adapted = is_adapter(source)
    base = located_vlm(adapter_source(Path(source.location)) if adapted else source, config)
    model = base.model("cpu", torch.float32)
    if not adapted:
        return base, model
    peft: Any = PeftModel.from_pretrained(model, source.location, is_trainable=False)
    return base, peft.merge_and_unload()


def _write_vlm(found: ModelFiles, folder: Path, settings: Settings) -> None:
    source = resolve_vlm(found.word)
    if not is_adapter(source):
        for path in Path(source.location).iterdir():
            shutil.copy(path, folder / path.name)
        return
    base, merged = merge_vlm(found, settings)
    merged.save_pretrained(folder, safe_serialization=True)
    _copy_beside(base.folder, folder)
    for place in (base.folder, Path(source.location)):  # its own domain takes the place of the base's
        if (place / DOMAIN_FILE).is_file():
            shutil.copy(place / DOMAIN_FILE, folder)


def _merged_clip(family: str, adapter: Path, base: Path) -> Any:
    import transformers

    name, _ = _WHOLE[family]
    model = getattr(transformers, name).from_pretrained(base, local_files_only=True, use_safetensors=True)
    return PeftModel.from_pretrained(model, adapter, is_trainable=False).merge_and_unload()


def _copy_beside(base: Path, folder: Path) -> None:
    """What says how to feed the model; what the weights' own writer made stays."""
    for path in base.iterdir():
        if path.suffix in _BESIDE and path.name != "vision.json" and not (folder / path.name).exists():
            shutil.copy(path, folder / path.name)
