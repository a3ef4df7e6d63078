"""Image towers as torch modules whose weights may change: what training starts from.

Knows each encoder family's module, preprocessing and the step from its output to a unit vector; trains nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import nn

from app.families import files
from app.families.clip.encoder import ClipEncoder, SiglipEncoder, read_scalar
from app.families.encoders import resolve
from app.families.lite import efficientnet_lite
from app.families.lite import encoder as lite
from app.inference.protocols import Pixels
from app.inference.sources import EncoderConfig
from app.jobs.errors import NotTrainableError
from app.settings import Settings


@dataclass
class ImageTower:
    """One encoder's image side, ready to be trained."""

    name: str
    family: str
    module: nn.Module
    """float[n, 3, side, side] to features float[n, dim], before they are centred and of unit norm."""
    preprocess: Callable[[Image.Image], Pixels]
    """One RGB image to float32[3, side, side]."""
    centre: torch.Tensor
    """float32[dim]: subtracted before features are scaled to unit norm, as the served encoder does."""
    dim: int
    side: int
    temperature: float
    fingerprint: str
    folder: Path | None
    """Where the base's files lie; None for `lite`."""


class _Projected(nn.Module):
    """A transformers vision model that returns its one vector an image."""

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = getattr(self.model(pixel_values=pixels), self.output)
        return features

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any]) -> None:
        """Recompute the transformer's activations in the backward pass."""
        recompute(self.model, gradient_checkpointing_kwargs)


def recompute(model: Any, options: dict[str, Any]) -> None:
    """Have a transformers model recompute activations, by the newer name where it has one."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable(options)


_FAMILIES: dict[str, type[Any]] = {"clip": ClipEncoder, "siglip": SiglipEncoder}


def image_tower(name: str, settings: Settings) -> ImageTower:
    """The image tower of the encoder that the registry calls `name`, in float32, on the CPU.

    Raises ModelNotFoundError, ModelUnavailableError, and NotTrainableError for a family without one.
    """
    source = resolve(name)
    config = EncoderConfig.from_settings(settings)
    if source.family == "lite":
        module, _ = lite.read_weights(lite.weights_path())
        centre = torch.from_numpy(lite.expected_features(module))
        return ImageTower(
            source.name,
            "lite",
            module.requires_grad_(True),
            lite.prepare,
            centre,
            efficientnet_lite.FEATURES,
            lite.SIDE,
            lite.TEMPERATURE,
            lite.fingerprint(),
            None,
        )
    source = files.located(source, config)
    if source.family not in _FAMILIES:
        raise NotTrainableError(f"Encoders of the family '{source.family}' cannot be trained.")
    return _hugging_face(source.name, _FAMILIES[source.family], Path(source.location), config)


def _hugging_face(name: str, family: type[Any], folder: Path, config: EncoderConfig) -> ImageTower:
    with files.loading(name):
        load_processor: Any = transformers.AutoImageProcessor.from_pretrained
        processor = load_processor(folder, local_files_only=True, backend="pil")
        model = family._vision_class.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="sdpa",
        )
        temperature = float(np.exp(read_scalar(folder, "logit_scale")))

    def preprocess(image: Image.Image) -> Pixels:
        pixels = processor(images=image.convert("RGB"), return_tensors="np")["pixel_values"][0]
        return np.ascontiguousarray(pixels, dtype=np.float32)

    module = _Projected(model, family._output)
    side = preprocess(Image.new("RGB", (64, 64))).shape[1]
    dim = int(model.config.projection_dim if family is ClipEncoder else model.config.hidden_size)
    return ImageTower(
        name,
        family.family,
        module.requires_grad_(True),
        preprocess,
        torch.zeros(dim),
        dim,
        side,
        temperature,
        files.fingerprint(folder, config.cache_dir),
        folder,
    )
