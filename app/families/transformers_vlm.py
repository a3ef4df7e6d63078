"""What every vision-language family of transformers shares: loading, collating, batched generation."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar

import torch

from app.families.graphs import Parts
from app.inference.aspect import bound_aspect
from app.inference.chat_templates import render
from app.inference.errors import ModelTaskError, QuestionTooLongError
from app.inference.generation.decoder import Decoder
from app.inference.generation.loop import Loop, is_trained
from app.inference.generation.plain import generate_plainly
from app.inference.generation.rows import Row
from app.inference.generation.slots import Slots
from app.inference.optimisation import AUTO, Optimisation
from app.inference.prompts import Answer, Generation, Prompt, Task
from app.inference.shared_bases import SharedBase, tensor_bytes

# Tensors that run along the tokens are padded on the left, so that every row's next token is its last column.
IMAGE, FAKE = "<image>", "<fake_token_around_image>"
_SEQUENCE_KEYS = ("input_ids", "attention_mask", "image_attention_mask")
_FILLS = {"labels": -100}
MAX_ROWS, CACHE_BYTES = 16, 1 << 30
"""Of a model that is opened without settings: rows generated together, and bytes of their keys and values."""


Join = Callable[[Callable[[Generation], bool]], Sequence[Generation]]
SHORT = 127
"""Tokens of a prompt whose padding costs less than a forward pass of its own."""


class TransformersVlm(ABC):
    """A transformers model and its processor.

    `pack` may run in any thread; `generate` runs in the model's own.
    """

    family: ClassVar[str]
    tasks: frozenset[Task]
    several_images: bool = False
    takes_more: ClassVar[bool] = True
    """Whether prompts may join a batch under way (`generate`)."""
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
        self.workspace: Slots | None = None
        """Keys and values of rows under way, where no base has them for all who share it."""
        self.runtime = f"torch {str(model.dtype).removeprefix('torch.')} {device}"
        self.optimisation = Optimisation(AUTO, "none" if model.dtype == torch.float32 else "basic")
        self.has_untrusted_files = False
        """Whether its chat template came with an upload, and is rendered within bounds."""
        self.static_cache = False
        """Whether steps have few fixed shapes, which lets them be captured as CUDA graphs on CUDA."""
        self.context_length = self._context_length()
        self.loop = Loop(name, self.make_decoder(), device, max_rows=MAX_ROWS, cache_bytes=CACHE_BYTES)
        special = set(processor.tokenizer.all_special_tokens) | {
            str(getattr(processor, "image_token", IMAGE))
        }
        # an empty one stands between any two letters: it could be taken out for ever
        self.control_tokens = sorted((special | {IMAGE, FAKE}) - {""}, key=len, reverse=True)
        """Taken out of clients' texts, longest first."""

    @property
    def bases(self) -> tuple[SharedBase, ...]:
        """What it shares with the base model and with other adapters."""
        return () if self.base is None else (self.base,)

    @property
    def memory_bytes(self) -> int:
        """All that answering takes, with the keys and values that are held now; what `base` counts of it is shared."""
        if self.base is None:
            return tensor_bytes(self.model) + (0 if self.workspace is None else self.workspace.memory_bytes)
        own = 0 if self.adapter is None else self.base.adapter_bytes(self.adapter)
        return self.base.memory_bytes + own

    def limit_generation(self, *, max_rows: int, cache_bytes: int) -> None:
        """At most so many rows at once, and so many bytes of their keys and values."""
        self.loop.limit(max_rows, cache_bytes)

    @abstractmethod
    def make_decoder(self) -> Decoder:
        """The forward passes that generation takes."""

    @abstractmethod
    def encode(self, prompt: Prompt, examples: int) -> dict[str, torch.Tensor]:
        """The prompt with its first `examples` examples as this family's tensors, batch size 1."""

    def pack(self, prompt: Prompt) -> Generation:
        """Turn a prompt into tensors, with as many examples as fit beside the answer in the context.

        Raises QuestionTooLongError when not even the bare question fits.
        """
        prompt = _shapely(prompt)
        fitting: Generation | None = None
        fewest, most = 0, len(prompt.examples)
        examples = most  # all of them, as a rule; else the most that fit, by halving
        while fewest <= most:
            packed = self.encode(prompt, examples)
            length = self._prompt_length(packed)
            if length + prompt.max_new_tokens <= self.context_length:
                fitting = Generation(
                    packed=packed,
                    prompt_tokens=length,
                    max_new_tokens=prompt.max_new_tokens,
                    sampling=prompt.sampling,
                    examples_used=tuple(range(examples)),
                    stop=prompt.stop,
                )
                fewest = examples + 1
            else:
                most = examples - 1
            examples = (fewest + most + 1) // 2
        if fitting is not None:
            return fitting
        raise QuestionTooLongError(
            f"The question and {prompt.max_new_tokens} new tokens do not fit into the {self.context_length} "
            f"tokens of {self.name}."
        )

    @torch.inference_mode()
    def generate(self, batch: Sequence[Generation], join: Join | None = None) -> list[Answer]:
        """Answer a batch of one `group`; each row ends, and is handed over, on its own.

        `join` takes more that waits for the model, up to the first that the test it is given refuses; the answers of
        what joined follow those of the batch.
        """
        with self.turn() as model:
            if not self.loop.decoder.is_supported or model.training:
                return self._generate_plainly(model, batch)
            base = self.base
            answers = self.loop.run(
                model,
                self._rows(batch),
                workspace=self if base is None else base,
                collate=lambda packed: self._to_device(self.collate(packed, left=False)),
                fixed_shapes=self.static_cache,
                # nobody joins while others wait for the weights, or they would wait for ever
                join=None
                if join is None
                else lambda fits: () if base is not None and base.is_wanted else self._rows(join(fits)),
            )
        if join is None and is_trained(model):
            self.drop_workspace()  # the training that goes on has better uses for the memory
        return answers

    def group(self, generation: Generation) -> str:
        """What may share a batch: prompts whose lengths differ by less than half, and short ones of any length.

        `generate` of transformers, where it answers, has one way of sampling for all.
        """
        bucket = str(max(generation.prompt_tokens, SHORT).bit_length())
        if self.loop.decoder.is_supported:
            return bucket
        sampling = generation.sampling
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
        self, items: Sequence[Mapping[str, torch.Tensor]], *, left: bool = True
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
        self.drop_workspace()
        self.base = None
        del self.model

    def turn(self) -> AbstractContextManager[Any]:
        """The model for one batch; other users of a shared base wait for their turn."""
        return nullcontext(self.model) if self.base is None else self.base.using(self.adapter)

    def drop_workspace(self) -> None:
        """Free the keys and values of past batches, and what was captured over them."""
        self.loop.captured.forget()
        self.workspace = None
        if self.base is not None:
            self.base.workspace = None

    def _rows(self, batch: Sequence[Generation]) -> list[Row]:
        end_tokens = self.end_tokens()
        return [Row(generation, self.processor.tokenizer, end_tokens) for generation in batch]

    def _to_device(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """On the model's device, floats as the model's."""
        return {
            key: value.to(self.device, self.model.dtype if value.is_floating_point() else None)
            for key, value in inputs.items()
        }

    def _generate_plainly(self, model: Any, batch: Sequence[Generation]) -> list[Answer]:
        inputs = self._to_device(self.collate([generation.packed for generation in batch]))
        return generate_plainly(model, self._rows(batch), inputs, self._find_generated_start(inputs))

    def _prompt_length(self, packed: dict[str, torch.Tensor]) -> int:
        return int(packed["input_ids"].shape[1])

    def _find_generated_start(self, inputs: dict[str, torch.Tensor]) -> int:
        return int(inputs["input_ids"].shape[1])

    def _context_length(self) -> int:
        text = self.model.config.get_text_config()
        return int(text.max_position_embeddings)


def _shapely(prompt: Prompt) -> Prompt:
    """The prompt with no image so thin that scaling its shorter side to a model's size would take gigabytes."""
    examples = tuple(
        example if example.image is None else replace(example, image=bound_aspect(example.image))
        for example in prompt.examples
    )
    return replace(prompt, image=bound_aspect(prompt.image), examples=examples)
