"""LLaVA: an image and a conversation through the checkpoint's chat template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from app.families.transformers_family import TransformersVlmFamily


class Llava(TransformersVlmFamily):
    """See `app.inference.family.Family`."""

    name = "llava"
    model_types = ("llava",)
    hub_hints = ("",)
    classes: ClassVar[Mapping[str, str]] = {
        "LlavaForConditionalGeneration": "app.families.llava.vlm:LlavaVlm"
    }


FAMILY = Llava()
