"""DINOv2 (Oquab et al. 2023): an image tower alone, trained without texts.

An image's vector is its class token after the last layer norm, of unit norm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.families.hugging_face import HuggingFaceFamily

_TEMPERATURE = 30.0
"""No checkpoint names one; as `lite`'s, whose cosines spread alike. Training fits a head's scale after it."""


class Dinov2(HuggingFaceFamily):
    """See `app.inference.family.Family`."""

    name = "dinov2"
    model_types = ("dinov2",)
    architectures = ("Dinov2Model",)
    hub_hints = ("dinov2",)
    vision_class = "Dinov2Model"
    attention_layers = ("q_proj", "k_proj", "v_proj")
    linear_layers = ("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2")

    def dim_of(self, config: Any) -> int:
        return int(config.hidden_size)

    def temperature_of(self, folder: Path) -> float:
        return _TEMPERATURE

    def image_features(self, module: Any, pixels: Any) -> Any:
        return module(pixel_values=pixels).pooler_output


FAMILY = Dinov2()
