"""Hugging Face encoders as modules that training changes and exporting writes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import nn

from app.families import files
from app.families.hugging_face_encoder import ImageModule, open_processor, prepare, tokenize_texts
from app.families.hugging_face_spec import HuggingFaceSpec
from app.inference.aspect import MAX_ASPECT
from app.inference.family import AdaptableEncoder, ImageTower, TextSide, Tokens
from app.inference.sources import EncoderConfig, EncoderSource

_BESIDE = (".json", ".txt", ".model", ".jinja")
"""Files of a checkpoint that say how to feed it."""
_NOTED = ("vision.json", "head.safetensors")
"""Files of a trained model that are not its encoder's."""


def image_tower(family: HuggingFaceSpec, source: EncoderSource, config: EncoderConfig) -> ImageTower:
    folder = Path(source.location)
    with files.loading(source.name):
        processor = open_processor(folder)
        preprocess = partial(prepare, processor)
        model = _load(family.vision_class, folder, attn_implementation="sdpa")
        temperature = family.temperature_of(folder)
        dim = family.dim_of(transformers.AutoConfig.from_pretrained(folder, local_files_only=True))
    return ImageTower(
        source.name,
        family.name,
        ImageModule(model, family.image_output).requires_grad_(True),
        preprocess,
        torch.zeros(dim),
        dim,
        preprocess(Image.new("RGB", (64, 64))).shape[1],
        temperature,
        files.fingerprint(folder, config.cache_dir),
        folder,
        _describe_preprocessing(processor),
    )


class _TextModule(nn.Module):
    """A transformers text tower whose padding is masked as it was in training."""

    def __init__(self, model: nn.Module, output: str, *, masked: bool) -> None:
        super().__init__()
        self.model, self.output, self.masked = model, output, masked

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = attention_mask if self.masked else torch.ones_like(attention_mask)
        vectors: torch.Tensor = getattr(self.model(input_ids=input_ids, attention_mask=mask), self.output)
        return nn.functional.normalize(vectors, dim=-1)


def text_side(family: HuggingFaceSpec, folder: Path) -> TextSide:
    model = _load(str(family.text_class), folder, attn_implementation="eager")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    masked = "attention_mask" in tokenizer.model_input_names
    module = _TextModule(model, family.text_output, masked=masked).eval()
    longest = model.config.max_position_embeddings
    return TextSide(module, partial(tokens_of, tokenizer, family.padding, longest), tokenizer)


def tokens_of(tokenizer: Any, padding: str | bool, longest: int, texts: Sequence[str]) -> Tokens:
    """input_ids and attention_mask int64[n, t] of n texts, the mask full where the model takes none."""
    found = tokenize_texts(tokenizer, texts, padding, longest)
    ids = found["input_ids"].numpy().astype(np.int64)
    mask = found.get("attention_mask")
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids) if mask is None else mask.numpy().astype(np.int64),
    }


def adaptable(family: HuggingFaceSpec, source: EncoderSource, config: EncoderConfig) -> AdaptableEncoder:
    folder = Path(source.location)
    with files.loading(source.name):
        preprocess = partial(prepare, open_processor(folder))
        model = _load(family.architectures[0], folder)
        temperature, dim = family.temperature_of(folder), family.dim_of(model.config)
        tokenize = None
        if family.reads_texts:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            longest = model.config.text_config.max_position_embeddings
            tokenize = partial(tokenize_texts, tokenizer, padding=family.padding, longest=longest)
    return AdaptableEncoder(
        module=model,
        fingerprint=files.fingerprint(folder, config.cache_dir),
        dim=dim,
        temperature=temperature,
        preprocess=preprocess,
        image_features=partial(family.image_features, model),
        text_features=partial(family.text_features, model) if family.reads_texts else None,
        tokenize=tokenize,
        image_part=family.image_part,
    )


def apply_changes(family: HuggingFaceSpec, tower: ImageTower, adapted: str, folder: Path) -> None:
    """See `Family.apply_changes`: an adapter is merged, whole weights take the place of the base's."""
    if adapted == "peft":
        state = _merge_adapter(family, folder, tower.folder or folder).state_dict()
    else:  # by transformers: names in files may be of another version than names in memory
        state = _load(family.architectures[0], folder).state_dict()
    own = tower.module.state_dict()
    changed = {
        name: state[name.removeprefix("model.")] for name in own if name.removeprefix("model.") in state
    }
    tower.module.load_state_dict(changed, strict=False)


def write_changed(
    family: HuggingFaceSpec, tower: ImageTower, state: Mapping[str, torch.Tensor], folder: Path
) -> list[str]:
    base = tower.folder or folder
    model = _load(family.architectures[0], base)
    changed = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    if unknown := model.load_state_dict(changed, strict=False).unexpected_keys:
        raise ValueError(f"the model has no tensor {unknown[0]}")
    model.save_pretrained(folder, safe_serialization=True)
    copy_beside(base, folder)
    return sorted(path.name for path in folder.iterdir() if path.name not in _NOTED)


def write_merged(
    family: HuggingFaceSpec,
    source: EncoderSource,
    changes: tuple[str, Path] | None,
    folder: Path,
) -> None:
    """See `Family.write_merged`: in Hugging Face's format."""
    base = Path(source.location)
    if changes is not None:
        _merge_adapter(family, changes[1], base).save_pretrained(folder, safe_serialization=True)
        copy_beside(base, folder)
        return
    for path in base.iterdir():
        if path.suffix in (*_BESIDE, ".safetensors") and path.name != "vision.json":
            shutil.copy(path, folder / path.name)


def copy_beside(base: Path, folder: Path) -> None:
    """Copy what says how to feed the model; what lies there already stays."""
    for path in base.iterdir():
        is_fed = path.suffix in _BESIDE and not path.name.endswith(
            ".index.json"
        )  # that is of the base's shards
        if is_fed and path.name != "vision.json" and not (folder / path.name).exists():
            shutil.copy(path, folder / path.name)


def _merge_adapter(family: HuggingFaceSpec, adapter: Path, base: Path) -> Any:
    from peft import PeftModel

    model = _load(family.architectures[0], base)
    return PeftModel.from_pretrained(model, adapter, is_trainable=False).merge_and_unload()


def _load(class_name: str, folder: Path, **options: Any) -> Any:
    return getattr(transformers, class_name).from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, **options
    )


def preprocessing(steps: Any) -> dict[str, Any]:
    """What an image processor does to an image, as `predict.py` and `answer.py` of an export read it.

    An image whose sides differ more than `max_aspect` times is cut to its middle; then either the shorter side becomes
    `shortest_edge` or the whole `width` times `height`, by Pillow's filter `resample`; the middle `crop` (width,
    height) is kept; (value * `scale` - `mean`) / `std`.
    """
    size, crop = steps.size, steps.crop_size if getattr(steps, "do_center_crop", False) else None
    return {
        "max_aspect": MAX_ASPECT,
        "shortest_edge": size.shortest_edge,
        "width": size.width,
        "height": size.height,
        "resample": int(steps.resample),
        "crop": None if crop is None else [crop.width, crop.height],
        "scale": steps.rescale_factor if steps.do_rescale else 1.0,
        "mean": list(steps.image_mean) if steps.do_normalize else [0.0] * 3,
        "std": list(steps.image_std) if steps.do_normalize else [1.0] * 3,
        "layout": "NCHW, RGB, float32",
    }


def _describe_preprocessing(processor: Any) -> dict[str, Any]:
    """`preprocessing`; empty for a processor of another kind, which an export then says nothing of."""
    try:
        return preprocessing(processor)
    except (AttributeError, TypeError):
        return {}
