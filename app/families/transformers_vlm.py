"""What every vision-language family of transformers shares: loading, collating, batched generation."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar

import torch

from app.families.decoding import Row, RowsEnded, RowStreamer
from app.families.graphs import Parts
from app.inference.aspect import bounded
from app.inference.chat_templates import render
from app.inference.errors import ModelTaskError, QuestionTooLongError
from app.inference.optimisation import AUTO, Optimisation
from app.inference.prompts import Answer, Generation, Prompt, Task
from app.inference.shared_bases import SharedBase, tensor_bytes

# Tensors that run along the tokens are padded on the left, so that every row's next token is its last column.
IMAGE, FAKE = "<image>", "<fake_token_around_image>"
_SEQUENCE_KEYS = ("input_ids", "attention_mask", "image_attention_mask")
_FILLS = {"labels": -100}
BUCKET = 128
"""Tokens of prompt and answer together are rounded up to a multiple of this where shapes must be few."""


class TransformersVlm(ABC):
    """A transformers model and its processor.

    `pack` may run in any thread; `generate` runs in the model's own.
    """

    family: ClassVar[str]
    tasks: frozenset[Task]
    several_images: bool = False
    answers_by: ClassVar[str] = "sequence"
    """How it comes to an answer, and thus how it is taught one: `sequence` (a decoder reads image, question and answer
    in one row), `continuation` (a decoder continues a text and sees the image by cross-attention) or `decoder` (an
    encoder reads the question, a decoder of its own writes the answer)."""
    language_parts: ClassVar[tuple[str, ...]]
    """Paths of the language model's modules, whose linear layers LoRA changes."""
    projector: ClassVar[str | None] = None
    """The module that turns image features into the language model's inputs."""

    tower: ClassVar[str | None] = None
    """The image tower's module, where it turns each row of `pixel_values` into tokens of a fixed number."""

    graphs: ClassVar[str | None] = None
    """The module that takes it apart into graphs, where it can be."""

    def __init__(
        self,
        name: str,
        model: Any,
        processor: Any,
        device: torch.device,
        *,
        base: SharedBase | None = None,
        adapter: str | None = None,
    ) -> None:
        """`base` is what lends `model` where others share it, `adapter` the one of its adapters that answers."""
        self.name = name
        self.model = model
        self.processor = processor
        self.device = device
        self.base = base
        self.adapter = adapter
        self.memory_bytes = tensor_bytes(model) if base is None else base.memory_bytes
        """All that answering takes; what `base` counts of it is shared."""
        if base is not None and adapter is not None:
            self.memory_bytes += base.adapter_bytes(adapter)
        self.runtime = f"torch {str(model.dtype).removeprefix('torch.')} {device}"
        self.optimisation = Optimisation(AUTO, "none" if model.dtype == torch.float32 else "basic")
        self.has_untrusted_files = False
        """Whether its chat template came with an upload, and is rendered within bounds."""
        self.static_cache = False
        """Whether keys and values lie in tensors of few fixed sizes, which lets generation compile on CUDA."""
        self.context_length = self._context_length()
        special = set(processor.tokenizer.all_special_tokens) | {
            str(getattr(processor, "image_token", IMAGE))
        }
        self.control_tokens = sorted(special | {IMAGE, FAKE}, key=len, reverse=True)
        """Taken out of clients' texts, longest first."""

    @property
    def bases(self) -> tuple[SharedBase, ...]:
        """What it shares with the base model and with other adapters."""
        return () if self.base is None else (self.base,)

    @abstractmethod
    def encode(self, prompt: Prompt, examples: int) -> dict[str, torch.Tensor]:
        """The prompt with its first `examples` examples as this family's tensors, batch size 1."""

    def pack(self, prompt: Prompt) -> Generation:
        """Turn a prompt into tensors, with as many examples as fit beside the answer in the context.

        Raises QuestionTooLongError when not even the bare question fits.
        """
        prompt = _shapely(prompt)
        for examples in range(len(prompt.examples), -1, -1):
            packed = self.encode(prompt, examples)
            length = self._prompt_length(packed)
            if length + prompt.max_new_tokens <= self.context_length:
                return Generation(
                    packed=packed,
                    prompt_tokens=length,
                    max_new_tokens=prompt.max_new_tokens,
                    sampling=prompt.sampling,
                    examples_used=tuple(range(examples)),
                )
        raise QuestionTooLongError(
            f"The question and {prompt.max_new_tokens} new tokens do not fit into the {self.context_length} "
            f"tokens of {self.name}."
        )

    @torch.inference_mode()
    def generate(self, batch: Sequence[Generation]) -> list[Answer]:
        """Answer a batch that shares one sampling; each row ends, and is handed over, on its own."""
        inputs = {
            key: value.to(self.device) for key, value in self.collate([g.packed for g in batch]).items()
        }
        for key, value in inputs.items():
            if value.is_floating_point():
                inputs[key] = value.to(self.model.dtype)
        rows = [Row(generation, self.processor.tokenizer) for generation in batch]
        sampling = batch[0].sampling
        options: dict[str, Any] = {"do_sample": sampling.temperature > 0}
        if sampling.temperature > 0:
            options |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
        most_tokens = max(g.max_new_tokens for g in batch)
        if self.static_cache:
            options["cache_implementation"] = "static"
            inputs = self._to_bucket(inputs, most_tokens)
        with self.turn() as model:
            model.generate(
                **inputs,
                max_new_tokens=most_tokens,
                num_beams=1,
                streamer=RowStreamer(rows, self.end_tokens()),
                stopping_criteria=[RowsEnded(rows, self._generated_from(inputs))],
                **options,
            )
        return [row.close("cancelled" if row.generation.cancelled() else "length") for row in rows]

    def group(self, generation: Generation) -> str:
        """What may share a batch: one way of sampling, and prompts whose lengths differ by less than half."""
        sampling = generation.sampling
        bucket = generation.prompt_tokens.bit_length()
        return f"{bucket} {sampling.temperature} {sampling.top_p}"

    def end_tokens(self) -> frozenset[int]:
        """Ids that end an answer."""
        end = self.model.generation_config.eos_token_id
        return frozenset([end] if isinstance(end, int) else end or [self.processor.tokenizer.eos_token_id])

    def clean(self, text: str) -> str:
        """A client's text without the model's own control tokens, which would forge turns or images."""
        before = None
        while before != text:  # taking one out may put another together
            before = text
            for token in self.control_tokens:
                text = text.replace(token, " ")
        return text.strip()

    def write_turns(
        self, messages: list[dict[str, Any]], *, answering: bool, default: str | None = None
    ) -> str:
        """A conversation through the checkpoint's chat template, or `default` where it has none.

        Raises ChatTemplateError where the template of an uploaded model fails or takes too long.
        """
        template = self.processor.chat_template or default
        if self.has_untrusted_files and isinstance(template, str):
            tokens = self.processor.tokenizer.special_tokens_map
            return render(template, messages, tokens, answering=answering, name=self.name)
        return str(
            self.processor.apply_chat_template(
                messages, chat_template=template, add_generation_prompt=answering
            )
        )

    def answer_lead(self) -> str:
        """What stands between the end of a prompt and the answer: a blank, unless the format says otherwise."""
        return " "

    def collate(
        self, items: Sequence[dict[str, torch.Tensor]], *, left: bool = True
    ) -> dict[str, torch.Tensor]:
        """Stack tensors of batch size 1: tokens padded on one side, images padded with zeros behind the last."""
        padding = self.processor.tokenizer.pad_token_id
        collated = {}
        for key in items[0]:
            tensors = [item[key] for item in items]
            shape = [max(t.shape[d] for t in tensors) for d in range(1, tensors[0].ndim)]
            fill = padding if key.endswith("input_ids") else _FILLS.get(key, 0)
            out = torch.full((len(tensors), *shape), fill, dtype=tensors[0].dtype)
            for row, tensor in enumerate(tensors):
                window: list[Any] = [slice(0, size) for size in tensor.shape[1:]]
                if left and key in _SEQUENCE_KEYS:
                    window[0] = slice(shape[0] - tensor.shape[1], shape[0])
                out[(row, *window)] = tensor[0]
            collated[key] = out
        return collated

    def take_apart(self) -> Parts:
        """The graphs that it is written as; raises ModelTaskError for a model that cannot be written so."""
        if self.graphs is not None:
            parts: Parts = importlib.import_module(self.graphs).take_apart(self)
            return parts
        raise ModelTaskError(
            f"The vision tower of '{self.name}' cannot be written as ONNX: models of type "
            f"'{self.model.config.model_type}' cut an image into a number of tiles that differs from image to image, "
            "and each tile's tokens are laid out in the prompt, which the exported graphs and their runner do not do."
        )

    def close(self) -> None:
        """Drop the weights: those of its own at once, shared ones when nobody else holds them."""
        if self.base is not None and self.adapter is not None:
            self.base.remove(self.adapter)
        self.base = None
        del self.model

    def _to_bucket(self, inputs: dict[str, torch.Tensor], new_tokens: int) -> dict[str, torch.Tensor]:
        """The prompts padded further on the left, so that they and the answer fill a multiple of `BUCKET` tokens."""
        missing = -(inputs["input_ids"].shape[1] + new_tokens) % BUCKET
        padding = self.processor.tokenizer.pad_token_id
        padded = dict(inputs)
        for key in set(_SEQUENCE_KEYS) & inputs.keys():
            tensor = inputs[key]
            shape = (tensor.shape[0], missing, *tensor.shape[2:])
            front = tensor.new_full(shape, padding if key == "input_ids" else 0)
            padded[key] = torch.cat([front, tensor], dim=1)
        return padded

    def turn(self) -> AbstractContextManager[Any]:
        """The model for one batch; whoever shares it waits for its turn."""
        return nullcontext(self.model) if self.base is None else self.base.using(self.adapter)

    def _prompt_length(self, packed: dict[str, torch.Tensor]) -> int:
        return int(packed["input_ids"].shape[1])

    def _generated_from(self, inputs: dict[str, torch.Tensor]) -> int:
        return int(inputs["input_ids"].shape[1])

    def _context_length(self) -> int:
        text = self.model.config.get_text_config()
        return int(text.max_position_embeddings)


def _shapely(prompt: Prompt) -> Prompt:
    """The prompt with no image so thin that scaling its shorter side to a model's size would take gigabytes."""
    examples = tuple(
        one if one.image is None else replace(one, image=bounded(one.image)) for one in prompt.examples
    )
    return replace(prompt, image=bounded(prompt.image), examples=examples)
