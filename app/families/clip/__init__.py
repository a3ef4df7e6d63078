"""CLIP (Radford et al. 2021)."""

from __future__ import annotations

from typing import Any

from app.families.hugging_face import TwoTowerFamily


class Clip(TwoTowerFamily):
    """See `app.inference.family.Family`."""

    name = "clip"
    model_types = ("clip",)
    architectures = ("CLIPModel",)
    hub_hints = ("",)
    vision_class = "CLIPVisionModelWithProjection"
    text_class = "CLIPTextModelWithProjection"
    image_output = "image_embeds"
    text_output = "text_embeds"

    def dim_of(self, config: Any) -> int:
        return int(config.projection_dim)


FAMILY = Clip()
