"""LLaVA: an image and a conversation through the processor's chat template, for 1.5 and later templates alike.

The template, the image tokens and the sizes come from the files of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from app.families.chat import lead_in, turn
from app.families.transformers_vlm import TransformersVlm
from app.inference.generation.decoder import Decoder, SequenceDecoder
from app.inference.prompts import CAPTION_PROMPT, Prompt

# LLaVA 1.5's template; only for checkpoints whose files carry none.
_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }} {% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


class LlavaVlm(TransformersVlm):
    """`LlavaForConditionalGeneration`; one image a prompt, so examples are earlier turns without theirs."""

    family = "llava"
    graphs = "app.families.llava.graphs"
    tasks = frozenset({"vqa", "caption"})
    language_parts = ("model.language_model",)
    projector = "model.multi_modal_projector"
    tower = "model.vision_tower"

    def make_decoder(self) -> Decoder:
        """Image, question and answer in one row."""
        return SequenceDecoder(self.model, self.language_parts[0])

    def encode(self, prompt: Prompt, examples: int) -> dict[str, torch.Tensor]:
        """Chat template, then processor: input_ids, attention_mask int64[1, length], pixel_values [1, 3, h, w]."""
        messages: list[dict[str, Any]] = []
        for example in reversed(prompt.examples[:examples]):
            if example.is_wordless:
                continue
            messages.append(turn("user", self.clean(example.question)))
            messages.append(turn("assistant", self.clean(example.answer)))
        text = self.write_prompt(self.clean(prompt.text) or CAPTION_PROMPT, messages)
        return dict(self.processor(images=[prompt.image], text=[text], return_tensors="pt"))

    def write_prompt(self, question: str, earlier: Sequence[dict[str, Any]] = ()) -> str:
        """A question about the image after earlier turns, as the tokenizer reads it; the image is one token here."""
        asked = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        return self._write_prompt([*earlier, asked], answering=True)

    def answer_lead(self) -> str:
        """As the checkpoint's own template puts an earlier answer."""
        return lead_in(self._write_prompt)

    def _write_prompt(self, messages: list[dict[str, Any]], *, answering: bool) -> str:
        return self.write_turns(messages, answering=answering, default=_TEMPLATE)
