"""BLIP: a captioning head that continues a text, and a question-answering head that reads one.

BLIP attends to one image and one question, so it takes no examples in context.
"""

from __future__ import annotations

import torch

from app.families.transformers_vlm import TransformersVlm
from app.inference.prompts import Generation, Prompt


class _Blip(TransformersVlm):
    family = "blip"
    graphs = "app.families.blip.graphs"
    tower = "vision_model"

    def end_tokens(self) -> frozenset[int]:
        """BLIP's heads end with [SEP], whatever the generation config says."""
        return frozenset([self.model.config.text_config.sep_token_id])

    def encode(self, prompt: Prompt, examples: int) -> dict[str, torch.Tensor]:
        """Processor tensors; without a text only pixel_values [1, 3, h, w]."""
        text = self.clean(prompt.text)
        return dict(self.processor(images=prompt.image, text=text or None, return_tensors="pt"))

    def group(self, generation: Generation) -> str:
        """Only prompts of one length: BLIP's `generate` lets the answer look at padding."""
        return f"{super().group(generation)} {generation.prompt_tokens}"

    def _prompt_length(self, packed: dict[str, torch.Tensor]) -> int:
        return int(packed["input_ids"].shape[1]) if "input_ids" in packed else 0


class BlipVqa(_Blip):
    """`BlipForQuestionAnswering`: an encoder reads the question, a decoder of its own starts the answer."""

    tasks = frozenset({"vqa"})
    answers_by = "decoder"
    language_parts = ("text_encoder", "text_decoder.bert")

    def _generated_from(self, inputs: dict[str, torch.Tensor]) -> int:
        return 1  # the decoder starts from its one begin token


class BlipCaption(_Blip):
    """`BlipForConditionalGeneration`: continues the prompt (`a photo of`), or starts from nothing."""

    tasks = frozenset({"caption"})
    answers_by = "continuation"
    language_parts = ("text_decoder.bert",)

    def _generated_from(self, inputs: dict[str, torch.Tensor]) -> int:
        # its own `generate` drops the closing [SEP] of a prompt, and begins with [DEC] where there is none
        return int(inputs["input_ids"].shape[1]) - 1 if "input_ids" in inputs else 1
