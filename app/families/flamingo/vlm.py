"""Flamingo's open descendants: Idefics (gated cross-attention) and Idefics3/SmolVLM (image tokens in the text)."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from app.families.chat import lead_in, turn
from app.families.flamingo.decoder import IdeficsDecoder
from app.families.transformers_vlm import TransformersVlm
from app.inference.generation.decoder import Decoder, SequenceDecoder
from app.inference.prompts import CAPTION_PROMPT, Prompt


class IdeficsVlm(TransformersVlm):
    """`IdeficsForVisionText2Text`: each image stands before its question; examples come first, nearest last."""

    family = "flamingo"
    tasks = frozenset({"vqa", "caption"})
    several_images = True
    language_parts = ("model.layers", "model.gated_cross_attn_layers")
    graphs = "app.families.flamingo.graphs"
    projector = "model.perceiver_resampler"
    tower = "model.vision_model"

    def make_decoder(self) -> Decoder:
        """Images by cross-attention."""
        return IdeficsDecoder(self.model)

    def encode(self, prompt: Prompt, examples: int) -> dict[str, torch.Tensor]:
        """input_ids, attention_mask [1, length], pixel_values [1, images, 3, h, w], image_attention_mask."""
        parts: list[str | Image.Image] = []
        for example in reversed(prompt.examples[:examples]):
            question, answer = self.clean(example.question), self.clean(example.answer)
            picture = [] if example.image is None else [example.image]
            words = [] if example.is_wordless else [f"Question: {question} Answer: {answer}\n"]
            parts += [*picture, *words]
        question = self.clean(prompt.text) or CAPTION_PROMPT
        # One string with a blank in it: the processor would fetch a part that is nothing but a URL.
        parts += [prompt.image, f"Question: {question} Answer:"]
        return dict(self.processor(text=[parts], return_tensors="pt", add_end_of_utterance_token=False))

    def end_tokens(self) -> frozenset[int]:
        """Also a line's end: a model that was only pretrained would go on and ask itself the next question."""
        tokenizer = self.processor.tokenizer
        lines = tokenizer.encode("\n", add_special_tokens=False)[-1:]
        ends = [token for token in lines if tokenizer.decode([token]) == "\n"]
        return super().end_tokens() | frozenset(ends)


class Idefics3Vlm(TransformersVlm):
    """`Idefics3ForConditionalGeneration` and `SmolVLMForConditionalGeneration`, through their chat template."""

    family = "flamingo"
    tasks = frozenset({"vqa", "caption"})
    several_images = True
    language_parts = ("model.text_model",)
    projector = "model.connector"

    def make_decoder(self) -> Decoder:
        """Images, question and answer in one row."""
        return SequenceDecoder(self.model, self.language_parts[0])

    def encode(self, prompt: Prompt, examples: int) -> dict[str, torch.Tensor]:
        """input_ids, attention_mask [1, length], pixel_values [1, tiles, 3, h, w], pixel_attention_mask."""
        messages: list[dict[str, Any]] = []
        images = []
        shown = 0
        for example in reversed(prompt.examples[:examples]):
            if example.image is not None:
                images.append(example.image)
            if example.is_wordless:
                shown += 1
                continue
            messages.append(
                _build_user_turn(self.clean(example.question), images=shown + (example.image is not None))
            )
            shown = 0
            messages.append(turn("assistant", self.clean(example.answer)))
        images.append(prompt.image)
        messages.append(_build_user_turn(self.clean(prompt.text) or CAPTION_PROMPT, images=shown + 1))
        text = self._write_prompt(messages, answering=True)
        return dict(self.processor(images=[images], text=[text], return_tensors="pt"))

    def answer_lead(self) -> str:
        """As the checkpoint's own template puts an earlier answer."""
        return lead_in(self._write_prompt)

    def _write_prompt(self, messages: list[dict[str, Any]], *, answering: bool) -> str:
        return self.write_turns(messages, answering=answering)


def _build_user_turn(question: str, *, images: int) -> dict[str, Any]:
    return {"role": "user", "content": [*[{"type": "image"}] * images, {"type": "text", "text": question}]}
