"""Encoders of any size through transformers: their files, preprocessing, towers and texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from app.families import files
from app.families.hugging_face_spec import HuggingFaceSpec
from app.families.text_mapping import unit
from app.families.weights import load_whole
from app.inference import device as devices
from app.inference.preprocessing import of_processor
from app.inference.protocols import Pixels, Rgb, Vectors
from app.inference.resizing import normalise, resize
from app.inference.runtimes import Tower, choose, launcher_of
from app.inference.sources import EncoderConfig, EncoderSource

TEXT_BATCH = 64

transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


class ImageModule(torch.nn.Module):
    """A transformers image tower with one tensor in, one tensor out."""

    def __init__(self, model: Any, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = getattr(self.model(pixel_values=pixels), self.output)
        return features

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any]) -> None:
        """Recompute the transformer's activations in the backward pass."""
        recompute(self.model, gradient_checkpointing_kwargs)


class HuggingFaceEncoder:
    """Images by a checkpoint of a `HuggingFaceSpec`; see `app.inference.protocols.Encoder`.

    Each tower is loaded by itself: the image tower only where the chosen runtime needs the torch weights, the
    text tower with the first text.
    """

    def __init__(self, family: HuggingFaceSpec, source: EncoderSource, config: EncoderConfig) -> None:
        """Raises `ModelNotFoundError` or `ModelUnavailableError`, as `load_encoder` says."""
        self.name, self.family = source.name, family.name
        self._family = family
        self._folder = Path(source.location)
        self._device = devices.parse(config.device)
        with files.loading(self.name):
            self._config = transformers.AutoConfig.from_pretrained(self._folder, local_files_only=True)
            self._processor = open_processor(self._folder)
            self.temperature = family.temperature_of(self._folder)
            self.dim = family.dim_of(self._config)
        self.input_size = input_size(self._processor)
        self.fingerprint = files.fingerprint(self._folder, config.cache_dir)
        tower = Tower(
            fingerprint=self.fingerprint,
            build=self._build_image_tower,
            prepare=partial(prepare_by_processor, self._processor),
            steps=of_processor(self._processor),
            finish=unit,
            convolutional=False,
        )
        with files.loading(self.name):
            self._images, self.optimisation, self._tower, self.min_decoded_side = choose(
                tower, config.at_level_of(source)
            )
        self.launcher = launcher_of(self._images, unit, self.fingerprint, config)
        self.memory_bytes = self._images.memory_bytes

    @property
    def runtime(self) -> str:
        """See `Encoder`; on a GPU it changes while graphs are recorded."""
        return self._images.label

    def preprocess(self, image: Image.Image | Rgb) -> Pixels:
        """See `app.inference.protocols.Encoder`: what the checkpoint's own processor prescribes."""
        return self._tower.preprocess(image)

    def encode_images(self, pixels: Pixels) -> Vectors:
        """A batch of what `preprocess` gives to float32[n, d] of unit norm."""
        return unit(self._images.run(pixels))

    def _build_image_tower(self) -> torch.nn.Module:
        model = self._load(self._family.vision_class, torch.float32)
        return ImageModule(model, self._family.image_output).eval().requires_grad_(False)

    def _load(self, class_name: str, dtype: torch.dtype) -> Any:
        with files.loading(self.name):
            return load_whole(class_name, self._folder, f"'{self.name}'", dtype)


class TwoTowerEncoder(HuggingFaceEncoder):
    """The same with a text tower; see `app.inference.protocols.TextEncoder`."""

    def __init__(self, family: HuggingFaceSpec, source: EncoderSource, config: EncoderConfig) -> None:
        super().__init__(family, source, config)
        self.memory_bytes += self._text_bytes()

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """n strings to float32[n, d] of unit norm; longer texts are cut at the model's context length."""
        parts = [self._encode_texts(texts[i : i + TEXT_BATCH]) for i in range(0, len(texts), TEXT_BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)

    def _encode_texts(self, texts: Sequence[str]) -> Vectors:
        longest = self._config.text_config.max_position_embeddings
        tokens = tokenize_texts(self._tokenizer, texts, self._family.padding, longest)
        with torch.inference_mode():
            inputs = {name: tensor.to(self._device.torch_name) for name, tensor in tokens.items()}
            output = getattr(self._text_tower(**inputs), self._family.text_output)
            vectors: Vectors = output.float().cpu().numpy()
        return unit(vectors)

    @cached_property
    def _text_tower(self) -> Any:
        dtype = getattr(torch, self._device.dtype_name)
        model = self._load(str(self._family.text_class), dtype).to(self._device.torch_name)
        return model.eval().requires_grad_(False)

    @cached_property
    def _tokenizer(self) -> Any:
        with files.loading(self.name):
            return transformers.AutoTokenizer.from_pretrained(self._folder, local_files_only=True)

    def _text_bytes(self) -> int:
        width = torch.finfo(getattr(torch, self._device.dtype_name)).bits // 8
        text = self._config.text_config
        layers = text.num_hidden_layers * (
            4 * text.hidden_size**2 + 2 * text.hidden_size * text.intermediate_size
        )
        return int(width * (layers + text.vocab_size * text.hidden_size))


def open_processor(folder: Path) -> Any:
    """The image processor of a checkpoint."""
    load_processor: Any = transformers.AutoImageProcessor.from_pretrained
    return load_processor(folder, local_files_only=True, backend="pil")


def prepare(processor: Any, image: Image.Image) -> Pixels:
    """One image to normalised float32[3, h, w] for training, as the service resizes it."""
    steps = of_processor(processor)
    if steps is None:
        return prepare_by_processor(processor, image)
    return normalise(resize(image, steps), steps)


def prepare_by_processor(processor: Any, image: Image.Image) -> Pixels:
    """One image to normalised float32[3, h, w] by the checkpoint's own processor."""
    pixels = processor(images=image.convert("RGB"), return_tensors="np")["pixel_values"][0]
    return np.ascontiguousarray(pixels, dtype=np.float32)


def tokenize_texts(
    tokenizer: Any, texts: Sequence[str], padding: str | bool, longest: int
) -> dict[str, torch.Tensor]:
    """input_ids int64[n, t], and attention_mask where the model takes one."""
    tokens = tokenizer(list(texts), padding=padding, truncation=True, max_length=longest, return_tensors="pt")
    return {name: tokens[name] for name in ("input_ids", "attention_mask") if name in tokens}


def recompute(model: Any, options: dict[str, Any]) -> None:
    """Have a transformers model recompute activations, by the newer name where it has one."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable(options)


def input_size(processor: Any) -> int:
    """The shorter side before cropping: `shortest_edge`, or the smaller of a fixed height and width."""
    size = dict(processor.size)
    if size.get("shortest_edge"):
        return int(size["shortest_edge"])
    return int(min(size["height"], size["width"]))
