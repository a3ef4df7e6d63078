"""An encoder's two sides as modules of tensors in, unit vectors out: what an exported graph computes.

Knows each family's steps after the network; writes no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from app.families import text_mapping
from app.families.clip.encoder import ClipEncoder, SiglipEncoder
from app.families.lite import encoder as lite
from app.families.lite import sentences
from app.jobs.errors import NotTrainableError
from app.settings import Settings
from workers.shared.towers import ImageTower

Tokens = dict[str, np.ndarray[Any, Any]]


class ImageSide(nn.Module):
    """pixels float[n, 3, h, w] to unit vectors float[n, d]."""

    centre: torch.Tensor

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.tower = tower.module
        self.register_buffer("centre", tower.centre)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.tower(pixels) - self.centre, dim=-1)


@dataclass
class TextSide:
    """A module and the tokenizer that feeds it."""

    module: nn.Module
    """input_ids int64[n, t], attention_mask int64[n, t] to unit vectors float[n, d]."""
    tokenize: Callable[[Sequence[str]], Tokens]
    tokenizer: Any


class _LiteText(nn.Module):
    """MiniLM, mean pooling and the mapping of `app.families.text_mapping`, step by step."""

    anchors: torch.Tensor
    rows: torch.Tensor
    anchor_mean: torch.Tensor
    linear: torch.Tensor

    def __init__(self, model: nn.Module, mapping: text_mapping.TextMapping) -> None:
        super().__init__()
        self.model = model
        self.neighbours = min(text_mapping.NEIGHBOURS, len(mapping.anchors))
        for name in mapping._fields:
            self.register_buffer(name, torch.from_numpy(getattr(mapping, name)))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        unit = nn.functional.normalize
        sentence = unit((hidden * mask).sum(1) / mask.sum(1), dim=-1)
        linear = unit((sentence - self.anchor_mean) @ self.linear, dim=-1)
        nearest, index = (sentence @ self.anchors.T).topk(self.neighbours, dim=1)
        weights = torch.softmax(text_mapping.NEIGHBOUR_TEMPERATURE * nearest, dim=1)
        blended = unit((weights.unsqueeze(-1) * self.rows[index]).sum(1), dim=-1)
        share = text_mapping.NEIGHBOUR_SHARE
        return unit((1 - share) * linear + share * blended, dim=-1)


class _TowerText(nn.Module):
    """A transformers text tower whose padding is masked as it was in training."""

    def __init__(self, model: nn.Module, output: str, *, masked: bool) -> None:
        super().__init__()
        self.model, self.output, self.masked = model, output, masked

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = attention_mask if self.masked else torch.ones_like(attention_mask)
        vectors: torch.Tensor = getattr(self.model(input_ids=input_ids, attention_mask=mask), self.output)
        return nn.functional.normalize(vectors, dim=-1)


def text_side(tower: ImageTower, settings: Settings) -> TextSide:
    """The text side that belongs to an image tower, in float32 on the CPU; raises NotTrainableError."""
    if tower.family == "lite":
        model = transformers.AutoModel.from_pretrained(
            sentences.folder(), local_files_only=True, use_safetensors=True, attn_implementation="eager"
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(sentences.folder(), local_files_only=True)
        _, classifier = lite.read_weights(lite.weights_path())
        anchors = np.load(lite.ANCHORS)["anchors"].astype(np.float32)
        mapping = text_mapping.fit(text_mapping.unit(anchors), classifier.weight.numpy())
        module: nn.Module = _LiteText(model, mapping)
        return TextSide(module.eval(), _tokenizing(tokenizer, True, sentences.MAX_TOKENS), tokenizer)
    families: dict[str, type[Any]] = {"clip": ClipEncoder, "siglip": SiglipEncoder}
    family = families.get(tower.family)
    if family is None or tower.folder is None:
        raise NotTrainableError(f"The texts of '{tower.name}' cannot be exported.")
    model = family._text_class.from_pretrained(
        tower.folder,
        local_files_only=True,
        use_safetensors=True,
        dtype=torch.float32,
        attn_implementation="eager",
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(tower.folder, local_files_only=True)
    output = family._output.replace("image", "text")
    module = _TowerText(model, output, masked="attention_mask" in tokenizer.model_input_names)
    longest = model.config.max_position_embeddings
    return TextSide(module.eval(), _tokenizing(tokenizer, family._padding, longest), tokenizer)


def _tokenizing(tokenizer: Any, padding: str | bool, longest: int) -> Callable[[Sequence[str]], Tokens]:
    def tokenize(texts: Sequence[str]) -> Tokens:
        found = tokenizer(
            list(texts), padding=padding, truncation=True, max_length=longest, return_tensors="np"
        )
        ids = found["input_ids"].astype(np.int64)
        mask = found.get("attention_mask")
        return {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids) if mask is None else mask.astype(np.int64),
        }

    return tokenize
