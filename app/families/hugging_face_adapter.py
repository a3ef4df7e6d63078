"""Encoders under a LoRA adapter: a folder with the changed weights beside a base that is named, not copied."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from app.families import files
from app.families.hugging_face_encoder import (
    TEXT_BATCH,
    input_size,
    open_processor,
    prepare_by_processor,
    tokenize_texts,
)
from app.families.hugging_face_spec import HuggingFaceSpec
from app.families.table import FAMILIES
from app.families.text_mapping import unit
from app.families.weights import load_whole
from app.inference import device as devices
from app.inference.errors import BaseModelChangedError, ModelUnavailableError
from app.inference.optimisation import AUTO, Optimisation
from app.inference.preprocessing import of_processor
from app.inference.protocols import Encoder, Pixels, Rgb, Vectors
from app.inference.resizing import as_picture, normalise, resize
from app.inference.runtimes import Tower, gpu_runtime, launcher_of
from app.inference.runtimes.gpu.runtime import GpuRuntime
from app.inference.runtimes.pixel_gate import pixel_note, pixel_parity
from app.inference.shared_bases import BaseKey, SharedBase, share_base
from app.inference.sources import EncoderConfig, EncoderSource

_AS_IT_IS = (
    "Levels change nothing for an adapter: it runs in torch over weights that it shares with its base."
)


def load_peft(source: EncoderSource, note: Mapping[str, Any], config: EncoderConfig) -> Encoder:
    """The encoder in the folder of an adapter; raises as `Family.load_adapted` says."""
    base = FAMILIES.locate("encoder", FAMILIES.resolve("encoder", str(note.get("base_model", ""))), config)
    family = FAMILIES.get(base.family)
    if not isinstance(family, HuggingFaceSpec):
        raise ModelUnavailableError(f"'{source.name}' changes its encoder in a way that is not served.")
    check_base(note, files.fingerprint(Path(base.location), config.cache_dir))
    return (TwoTowerPeft if family.reads_texts else PeftEncoder)(family, source, base, config)


def check_base(note: Mapping[str, Any], fingerprint: str) -> None:
    """Raise BaseModelChangedError where the note of a trained model names another version of its base."""
    if note.get("base_fingerprint") not in (None, fingerprint):
        raise BaseModelChangedError


class PeftEncoder:
    """A Hugging Face encoder under a LoRA adapter; see `app.inference.protocols.Encoder`.

    The base module is held once in memory, however many adapters lie over it.
    """

    def __init__(
        self, family: HuggingFaceSpec, source: EncoderSource, base: EncoderSource, config: EncoderConfig
    ) -> None:
        folder, base_folder = Path(source.location), Path(base.location)
        device = devices.parse(config.device)
        self.name, self.family = source.name, family.name
        self._family = family
        self._device, self._dtype = device.torch_name, getattr(torch, device.dtype_name)
        with files.loading(source.name):
            self._processor = open_processor(base_folder)
            self.temperature = family.temperature_of(base_folder)
            key = BaseKey(
                files.fingerprint(base_folder, config.cache_dir),
                self._device,
                device.dtype_name,
                "both towers",
            )
            self._base: SharedBase = share_base(
                key, lambda: _whole(family.architectures[0], base_folder, self._dtype, self._device)
            )
        self._adapter = self._base.load(folder)
        self._images: GpuRuntime | None = None
        try:
            self._open(source, folder, key.fingerprint, config, device)
        except BaseException:
            self._give_up()
            raise

    def _open(
        self,
        source: EncoderSource,
        folder: Path,
        base_fingerprint: str,
        config: EncoderConfig,
        device: devices.Device,
    ) -> None:
        """Find how its images are prepared, and what runs them."""
        self._steps = of_processor(self._processor)
        found = pixel_parity(
            self._steps,
            partial(prepare_by_processor, self._processor),
            self.encode_images,
            pixel_note(config.cache_dir, base_fingerprint, self._steps),
        )
        self._steps = self._steps if found.is_fast else None
        self.min_decoded_side = found.min_decoded_side
        self.input_size = input_size(self._processor)
        self.dim = self._family.dim_of(self._base.module.config)
        self.fingerprint = hashlib.sha256(
            f"{base_fingerprint} {files.fingerprint(folder, config.cache_dir)}".encode()
        ).hexdigest()[:16]
        self.memory_bytes = self._base.memory_bytes + self._base.adapter_bytes(self._adapter)
        self._torch_name = f"torch {device.dtype_name} {self._device}"
        self._images = _on_gpu(self._tower(), config, device)
        self.launcher = launcher_of(self._images, unit, self.fingerprint, config)
        if self._images is not None:
            self.memory_bytes += self._images.memory_bytes
        asked = config.level_of(source)
        as_it_is = None if asked == AUTO else _AS_IT_IS
        self.optimisation = Optimisation(
            asked,
            "none" if device.kind == "cpu" else "basic",
            note=" ".join(part for part in (as_it_is, found.remark) if part) or None,
        )

    def _give_up(self) -> None:
        """Close what was opened so far; its adapter would stay with the base that others hold."""
        if self._images is not None:
            self._images.close()
        self.close()

    def _tower(self) -> Tower:
        return Tower(
            fingerprint=self.fingerprint,
            build=lambda: _AdaptedTower(self._family, self._base, self._adapter),
            prepare=partial(prepare_by_processor, self._processor),
            steps=self._steps,
            finish=unit,
            convolutional=False,
        )

    @property
    def runtime(self) -> str:
        """See `app.inference.protocols.Encoder`; on a GPU it changes while graphs are recorded."""
        return f"{self._torch_name if self._images is None else self._images.label}, adapter"

    @property
    def bases(self) -> tuple[SharedBase, ...]:
        """What it shares with other adapters."""
        return (self._base,)

    def preprocess(self, image: Image.Image | Rgb) -> Pixels:
        """See `app.inference.protocols.Encoder`: what the base's processor prescribes."""
        if self._steps is None:
            return prepare_by_processor(self._processor, as_picture(image))
        return resize(image, self._steps)

    def encode_images(self, pixels: Pixels) -> Vectors:
        """A batch of what `preprocess` gives to float32[n, d] of unit norm."""
        if self._images is not None:
            return unit(self._images.run(pixels))
        if pixels.dtype == np.uint8 and self._steps is not None:
            pixels = normalise(pixels, self._steps)
        batch = torch.from_numpy(pixels).to(self._device, self._dtype)
        with torch.inference_mode(), self._base.using(self._adapter) as module:
            return _unit(self._family.image_features(module, batch))

    def close(self) -> None:
        """Free the adapter; the base goes with its last holder."""
        self._base.remove(self._adapter)


class TwoTowerPeft(PeftEncoder):
    """The same where the base has a text tower; see `app.inference.protocols.TextEncoder`."""

    def __init__(
        self, family: HuggingFaceSpec, source: EncoderSource, base: EncoderSource, config: EncoderConfig
    ) -> None:
        with files.loading(source.name):
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(base.location, local_files_only=True)
        super().__init__(family, source, base, config)

    def _open(
        self,
        source: EncoderSource,
        folder: Path,
        base_fingerprint: str,
        config: EncoderConfig,
        device: devices.Device,
    ) -> None:
        self._longest = int(self._base.module.config.text_config.max_position_embeddings)  # type: ignore[union-attr,arg-type]
        super()._open(source, folder, base_fingerprint, config, device)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """n strings to float32[n, d] of unit norm."""
        parts = []
        for start in range(0, len(texts), TEXT_BATCH):
            part = texts[start : start + TEXT_BATCH]
            tokens = tokenize_texts(self._tokenizer, part, self._family.padding, self._longest)
            inputs = {name: tensor.to(self._device) for name, tensor in tokens.items()}
            with torch.inference_mode(), self._base.using(self._adapter) as module:
                parts.append(_unit(self._family.text_features(module, inputs)))
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)


class _AdaptedTower(torch.nn.Module):
    """The image tower of a shared base under one adapter, which takes its turn for each eager pass.

    A graph of it needs no turn: the weights that it reads, the base's and the adapter's, stay where they are while the
    encoder holds them, whichever adapter others select. The base is no submodule: nobody may move or convert it.
    """

    def __init__(self, family: HuggingFaceSpec, base: SharedBase, adapter: str) -> None:
        super().__init__()
        self._family, self._base, self._adapter = family, base, adapter

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        with self._base.using(self._adapter) as module:
            features: torch.Tensor = self._family.image_features(module, pixels)
        return features


def _on_gpu(tower: Tower, config: EncoderConfig, device: devices.Device) -> GpuRuntime | None:
    """The tower fed with full-size pixels on a GPU, where that is as exact; None elsewhere."""
    return None if device.kind == "cpu" else gpu_runtime(tower, config, device)


def _unit(features: torch.Tensor) -> Vectors:
    vectors: Vectors = features.float().cpu().numpy()
    return unit(vectors)


def _whole(class_name: str, folder: Path, dtype: torch.dtype, device: str) -> torch.nn.Module:
    model = load_whole(class_name, folder, "the base model", dtype)
    module: torch.nn.Module = model.to(device).eval().requires_grad_(False)
    return module
