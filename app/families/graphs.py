"""A vision-language model as graphs: what runs once for an image and a question, and what for each token.

What a graph takes and gives is named, and handed on by name. Which graphs a model has is its family's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

Axes = Mapping[int, str]
BATCH: Axes = {0: "batch"}
TOKENS: Axes = {0: "batch", 1: "sequence"}
MASK: Axes = {0: "batch", 1: "total_sequence"}
PAST: Axes = {0: "batch", 2: "past_sequence"}
FEATURES: Axes = {0: "batch", 1: "features"}
CROSS: Axes = {0: "batch", 2: "features"}
PROMPT_SLOT = "{question}"


class Part(nn.Module):
    """Some of a model's modules and what is computed with them, from tensors in a fixed order."""

    def __init__(self, compute: Callable[..., Any], *modules: nn.Module) -> None:
        super().__init__()
        self.kept = nn.ModuleList(modules)
        self.compute = compute

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self.compute(*tensors)


@dataclass(frozen=True)
class Graph:
    """One ONNX file to be."""

    module: nn.Module
    """Takes `*tensors` in the order of `inputs`; gives a tensor, or several in the order of `outputs`."""
    inputs: Mapping[str, Axes]
    """Name -> the axes that vary, by name."""
    outputs: tuple[str, ...]
    purpose: str

    @torch.no_grad()
    def compute(self, values: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """The outputs by torch, of those of the values that are its inputs."""
        found = self.module(*(values[name] for name in self.inputs))
        return found if isinstance(found, tuple) else (found,)


@dataclass(frozen=True)
class Parts:
    """All graphs of a model in the order they run, and how it is asked."""

    graphs: Mapping[str, Graph]
    before: tuple[str, ...]
    """Those that run once for an image and a question; the others run for each token."""
    cache: tuple[int, int]
    """Heads and numbers a head of the decoder's keys and values."""
    prompt: str = PROMPT_SLOT
    """What is tokenized, with `{question}` in the question's place."""
    caption: str = ""
    """What stands there where a caption is wanted."""
    start: int | None = None
    """The decoder's first token where it does not read the prompt itself."""
    add_special_tokens: bool = True
    image_token: str | None = None


def vision_tower_graph(part: nn.Module) -> Graph:
    """What comes first in every model: pixels to features."""
    return Graph(
        part,
        {"pixel_values": BATCH},
        ("image_features",),
        "Pixels, as preprocessing.json describes them, to the image's features.",
    )


def decoder_graph(
    part: nn.Module, inputs: Mapping[str, Axes], past: tuple[str, ...], *, masked: bool = True
) -> Graph:
    """What runs for each token; `past` are the names of its cache."""
    mask = {"attention_mask": MASK} if masked else {}
    return Graph(
        part,
        {**inputs, **mask, **dict.fromkeys(past, PAST)},
        ("logits", *(name.replace("past_key_values", "present") for name in past)),
        "The next token after each one. Starts with past_key_values of length 0; `present.*` are the next step's "
        "`past_key_values.*`"
        + (", and attention_mask then covers past and new tokens (0: padding)." if masked else "."),
    )


def cache_names(layers: int, prefix: str = "past_key_values") -> tuple[str, ...]:
    """Keys and values of each layer, in turn."""
    return tuple(f"{prefix}.{layer}.{kind}" for layer in range(layers) for kind in ("key", "value"))


def to_cache(flat: tuple[torch.Tensor, ...]) -> DynamicCache:
    """Keys and values of all layers, in turn, as transformers holds them."""
    cache = DynamicCache()
    for layer in range(len(flat) // 2):
        cache.update(flat[2 * layer], flat[2 * layer + 1], layer)
    return cache


def flatten_cache(cache: DynamicCache) -> tuple[torch.Tensor, ...]:
    """A cache as tensors: keys, then values, of each layer in turn."""
    layers: list[Any] = cache.layers
    return tuple(tensor for layer in layers for tensor in (layer.keys, layer.values))
