"""Encoders that training changed: a folder with the changed weights beside a base that is named, not copied.

Knows which parts of which family change and how they meet their base; knows nothing of labels or of training.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from app.families import files
from app.families.clip.encoder import ClipEncoder, SiglipEncoder, input_size, read_scalar
from app.families.encoder_source import adapted_note, resolve
from app.families.lite import encoder as lite
from app.families.lite.efficientnet_lite import EfficientNetLite0
from app.families.text_mapping import unit
from app.inference import device as devices
from app.inference.errors import BaseModelChangedError, ModelUnavailableError
from app.inference.optimisation import AUTO, Optimisation
from app.inference.protocols import Encoder, Pixels, Vectors
from app.inference.shared_bases import BaseKey, SharedBase, shared
from app.inference.sources import EncoderConfig, EncoderSource

_TEXT_BATCH = 64
_AS_IT_IS = (
    "Levels change nothing for an adapter: it runs in torch over weights that it shares with its base."
)
_WHOLE: dict[str, tuple[type[Any], type[Any]]] = {
    "clip": (ClipEncoder, transformers.CLIPModel),
    "siglip": (SiglipEncoder, transformers.SiglipModel),
}


def load_adapted(source: EncoderSource, config: EncoderConfig) -> Encoder:
    """The encoder in a trained model's folder; blocks.

    Raises BaseModelChangedError where the base at hand is not the one it was trained over, ModelNotFoundError
    where there is none, ModelUnavailableError for files that cannot be read or do not fit.
    """
    folder = Path(source.location)
    note = adapted_note(folder) or {}
    base = resolve(str(note.get("base_model", "")))
    if note.get("adapted") == "tail" and base.family == "lite":
        _check_base(note, lite.fingerprint())
        return AdaptedLite(source, config)
    if note.get("adapted") == "full" and base.family in _WHOLE:
        encoder: Encoder = _WHOLE[base.family][0](source, config)  # whole, so that no base is needed
        return encoder
    base = files.located(base, config)
    if note.get("adapted") == "peft" and base.family in _WHOLE:
        _check_base(note, files.fingerprint(Path(base.location), config.cache_dir))
        return PeftEncoder(source, base, config)
    raise ModelUnavailableError(f"'{source.name}' changes its encoder in a way that is not served.")


def with_tail(module: EfficientNetLite0, tail: dict[str, torch.Tensor]) -> EfficientNetLite0:
    """The module with these weights in place of its own; raises ValueError where a name or shape is wrong."""
    own = module.state_dict()
    for name, tensor in tail.items():
        if name not in own or own[name].shape != tensor.shape:
            raise ValueError(f"no such tensor: {name}")
    module.load_state_dict(tail, strict=False)
    return module


class AdaptedLite(lite.LiteEncoder):
    """`lite` with other last stages. Its image side is small (13 MB) and exported as one graph, so it shares no
    memory with the base; its texts are the base's.
    """

    def __init__(self, source: EncoderSource, config: EncoderConfig) -> None:
        file = Path(source.location) / lite.TAIL
        try:
            self._tail = load_file(file)
            self._digest = hashlib.sha256(file.read_bytes()).hexdigest()
            with_tail(EfficientNetLite0(), self._tail)
        except (OSError, SafetensorError, ValueError):
            raise ModelUnavailableError(f"The file {lite.TAIL} of '{source.name}' cannot be read.") from None
        super().__init__(source, config)

    def _module(self) -> EfficientNetLite0:
        return with_tail(super()._module(), self._tail)

    def _own_fingerprint(self) -> str:
        return hashlib.sha256(f"{lite.fingerprint()} {self._digest}".encode()).hexdigest()[:16]


class PeftEncoder:
    """CLIP or SigLIP under a LoRA adapter; see `app.inference.protocols.Encoder`.

    The base module is held once in memory, however many adapters lie over it.
    """

    def __init__(self, source: EncoderSource, base: EncoderSource, config: EncoderConfig) -> None:
        folder, base_folder = Path(source.location), Path(base.location)
        encoder, whole = _WHOLE[base.family]
        device = devices.parse(config.device)
        self.name, self.family = source.name, base.family
        self._device, self._dtype = device.torch_name, getattr(torch, device.dtype_name)
        self._padding: str | bool = encoder._padding
        with files.loading(source.name):
            load_processor: Any = transformers.AutoImageProcessor.from_pretrained
            self._processor = load_processor(base_folder, local_files_only=True, backend="pil")
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(base_folder, local_files_only=True)
            self.temperature = math.exp(read_scalar(base_folder, "logit_scale"))
            key = BaseKey(
                files.fingerprint(base_folder, config.cache_dir),
                self._device,
                device.dtype_name,
                "both towers",
            )
            self._base: SharedBase = shared(
                key, lambda: _whole(whole, base_folder, self._dtype, self._device)
            )
        self._adapter = self._base.load(folder)
        self.input_size = input_size(self._processor)
        self._longest = int(self._base.module.config.text_config.max_position_embeddings)  # type: ignore[union-attr,arg-type]
        self.dim = self.encode_texts(["a"]).shape[1]
        self.fingerprint = hashlib.sha256(
            f"{key.fingerprint} {files.fingerprint(folder, config.cache_dir)}".encode()
        ).hexdigest()[:16]
        self.memory_bytes = self._base.memory_bytes + self._base.adapter_bytes(self._adapter)
        self.runtime = f"torch {device.dtype_name} {self._device}, adapter"
        asked = config.level_of(source)
        self.optimisation = Optimisation(
            asked,
            "none" if device.kind == "cpu" else "basic",
            note=None if asked == AUTO else _AS_IT_IS,
        )

    @property
    def bases(self) -> tuple[SharedBase, ...]:
        """What it shares with other adapters."""
        return (self._base,)

    def preprocess(self, image: Image.Image) -> Pixels:
        """One image to float32[3, h, w] as the base's processor prescribes."""
        pixels = self._processor(images=image.convert("RGB"), return_tensors="np")["pixel_values"][0]
        return np.ascontiguousarray(pixels, dtype=np.float32)

    def encode_images(self, pixels: Pixels) -> Vectors:
        """float32[n, 3, h, w] to float32[n, d] of unit norm."""
        batch = torch.from_numpy(pixels).to(self._device, self._dtype)
        with torch.inference_mode(), self._base.using(self._adapter) as module:
            return _unit(module.get_image_features(pixel_values=batch))  # type: ignore[operator]

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """n strings to float32[n, d] of unit norm."""
        parts = []
        for start in range(0, len(texts), _TEXT_BATCH):
            tokens = self._tokenizer(
                list(texts[start : start + _TEXT_BATCH]),
                padding=self._padding,
                truncation=True,
                max_length=self._longest,
                return_tensors="pt",
            )
            inputs = {
                name: tokens[name].to(self._device)
                for name in ("input_ids", "attention_mask")
                if name in tokens
            }
            with torch.inference_mode(), self._base.using(self._adapter) as module:
                parts.append(_unit(module.get_text_features(**inputs)))  # type: ignore[operator]
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)

    def close(self) -> None:
        """Free the adapter; the base goes with its last holder."""
        self._base.remove(self._adapter)


def _unit(output: Any) -> Vectors:
    vectors: Vectors = output.pooler_output.float().cpu().numpy()
    return unit(vectors)


def _whole(model_class: type[Any], folder: Path, dtype: torch.dtype, device: str) -> torch.nn.Module:
    model, report = model_class.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True
    )
    if report["missing_keys"]:
        raise ModelUnavailableError("The weights of the base model are incomplete.")
    module: torch.nn.Module = model.to(device).eval().requires_grad_(False)
    return module


def _check_base(note: dict[str, Any], fingerprint: str) -> None:
    if note.get("base_fingerprint") not in (None, fingerprint):
        raise BaseModelChangedError
