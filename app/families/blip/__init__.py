"""BLIP: captions by one head, answers by another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from app.families.transformers_family import TransformersVlmFamily


class Blip(TransformersVlmFamily):
    """See `app.inference.family.Family`."""

    name = "blip"
    model_types = ("blip",)
    classes: ClassVar[Mapping[str, str]] = {
        "BlipForQuestionAnswering": "app.families.blip.vlm:BlipVqa",
        "BlipForConditionalGeneration": "app.families.blip.vlm:BlipCaption",
    }
    single_tasks: ClassVar[Mapping[str, str]] = {
        "BlipForQuestionAnswering": "vqa",
        "BlipForConditionalGeneration": "caption",
    }
    default_checkpoints: ClassVar[Mapping[str, str]] = {"caption": "blip-shapes-caption"}


FAMILY = Blip()
