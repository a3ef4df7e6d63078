"""The network of MiniLM: BERT's encoder (Devlin et al. 2019) as functions on its weights.

transformers computes the same, but takes two to three seconds of CPU and 200 MB to import, which was most of a start.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional

HEADS = 12
NORM_EPSILON = 1e-12
"""Both as the checkpoint's config.json has them."""


class MiniLm:
    """The last hidden states of token ids, float32 on the CPU."""

    def __init__(self, weights: Path) -> None:
        """Reads a safetensors file; raises what `safetensors` raises, and KeyError where a tensor is missing."""
        self._weights = load_file(weights)
        self._layers = 1 + max(
            int(name.split(".")[2]) for name in self._weights if name.startswith("encoder.layer.")
        )

    @torch.inference_mode()
    def compute_hidden(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """int64[n, t] and its mask (1 a token, 0 padding) to float32[n, t, 384]."""
        tables = "embeddings.{}_embeddings.weight"
        embedded = functional.embedding(ids, self._weights[tables.format("word")])
        embedded += self._weights[tables.format("position")][: ids.shape[1]]
        embedded += self._weights[tables.format("token_type")][0]
        hidden = self._norm("embeddings.LayerNorm", embedded)
        # true where a token may be looked at; one text alone has no padding
        seen = None if bool(mask.all()) else mask[:, None, None, :].bool()
        for number in range(self._layers):
            hidden = self._layer(f"encoder.layer.{number}", hidden, seen)
        return hidden

    def _layer(self, name: str, hidden: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
        query, key, value = (
            self._linear(f"{name}.attention.self.{part}", hidden)
            .view(*hidden.shape[:2], HEADS, -1)
            .transpose(1, 2)
            for part in ("query", "key", "value")
        )
        attended = (
            functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
            .transpose(1, 2)
            .flatten(2)
        )
        attended = self._linear(f"{name}.attention.output.dense", attended)
        hidden = self._norm(f"{name}.attention.output.LayerNorm", attended + hidden)
        between = functional.gelu(self._linear(f"{name}.intermediate.dense", hidden))
        return self._norm(f"{name}.output.LayerNorm", self._linear(f"{name}.output.dense", between) + hidden)

    def _linear(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return functional.linear(values, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, name: str, values: torch.Tensor) -> torch.Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(values, weight.shape, weight, bias, NORM_EPSILON)
