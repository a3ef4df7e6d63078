"""What an encoder family says of its checkpoints of Hugging Face: classes, outputs and layers of transformers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.inference.family import Family


class HuggingFaceSpec(Family):
    """An image tower, and a text tower beside it unless `text_class` is None."""

    vision_class: str
    """transformers' class of the image tower alone."""
    text_class: str | None = None
    """The same of the text tower."""
    image_output: str = "pooler_output"
    """What of the image tower's output is an image's vector."""
    text_output: str = "pooler_output"
    padding: str | bool = True
    """How texts are padded, as in the model's training."""
    image_part: str = ""
    """Part of the names of the image tower's layers in the whole model."""

    @property
    def reads_texts(self) -> bool:  # type: ignore[override]
        return self.text_class is not None

    def dim_of(self, config: Any) -> int:
        """Length of a vector, from the configuration of the whole model."""
        raise NotImplementedError

    def temperature_of(self, folder: Path) -> float:
        """Scale that turns cosines into logits, from the checkpoint."""
        from app.families.files import read_scalar

        return math.exp(read_scalar(folder, "logit_scale"))

    def image_features(self, module: Any, pixels: Any) -> Any:
        """float[n, 3, h, w] to float[n, d] through the whole model."""
        return module.get_image_features(pixel_values=pixels).pooler_output

    def text_features(self, module: Any, tokens: Mapping[str, Any]) -> Any:
        """Tokens to float[n, d] through the whole model."""
        return module.get_text_features(**tokens).pooler_output
