"""Flamingo's open descendants (Idefics, Idefics3, SmolVLM), which learn from examples in their prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from app.families.transformers_family import TransformersVlmFamily


class Flamingo(TransformersVlmFamily):
    """See `app.inference.family.Family`."""

    name = "flamingo"
    learns_in_context = True
    model_types = ("idefics", "idefics3", "smolvlm")
    classes: ClassVar[Mapping[str, str]] = {
        "IdeficsForVisionText2Text": "app.families.flamingo.vlm:IdeficsVlm",
        "Idefics3ForConditionalGeneration": "app.families.flamingo.vlm:Idefics3Vlm",
        "SmolVLMForConditionalGeneration": "app.families.flamingo.vlm:Idefics3Vlm",
    }


FAMILY = Flamingo()
