"""BLIP: a captioning head that continues a text, and a question-answering head that reads one.

BLIP attends to one image and one question, so it takes no examples in context.
"""

from __future__ import annotations

from typing import Any

import torch

from app.families.blip.decoder import CaptionDecoder, VqaDecoder
from app.families.blip.masks import heed_cross_masks
from app.families.transformers_vlm import TransformersVlm
from app.inference.generation.decoder import Decoder
from app.inference.prompts import Generation, Prompt


class _Blip(TransformersVlm):
    family = "blip"
    graphs = "app.families.blip.graphs"
    tower = "vision_model"

    def __init__(self, name: str, model: Any, *given: Any, **options: Any) -> None:
        super().__init__(name, model, *given, **options)
        heed_cross_masks(model)

    def end_tokens(self) -> frozenset[int]:
        """BLIP's heads end with [SEP], whatever the generation config says."""
        return frozenset([self.model.config.text_config.sep_token_id])

    def encode(self, prompt: Prompt, examples: int) -> dict[str, torch.Tensor]:
        """Processor tensors; without a text only pixel_values [1, 3, h, w]."""
        text = self.clean(prompt.text)
        return dict(self.processor(images=prompt.image, text=text or None, return_tensors="pt"))

    def group(self, generation: Generation) -> str:
        """Questions of any length, but not with captions of nothing, which have no tokens to put beside them."""
        return f"{super().group(generation)} {'input_ids' in generation.packed}"

    def _prompt_length(self, packed: dict[str, torch.Tensor]) -> int:
        return int(packed["input_ids"].shape[1]) if "input_ids" in packed else 0


class BlipVqa(_Blip):
    """`BlipForQuestionAnswering`: an encoder reads the question, a decoder of its own starts the answer."""

    tasks = frozenset({"vqa"})
    answers_by = "decoder"
    language_parts = ("text_encoder", "text_decoder.bert")

    def make_decoder(self) -> Decoder:
        """The answer's decoder looks at the question."""
        return VqaDecoder(self.model)


class BlipCaption(_Blip):
    """`BlipForConditionalGeneration`: continues the prompt (`a photo of`), or starts from nothing."""

    tasks = frozenset({"caption"})
    answers_by = "continuation"
    language_parts = ("text_decoder.bert",)

    def make_decoder(self) -> Decoder:
        """The decoder looks at the image."""
        return CaptionDecoder(self.model)
