"""Idefics in the loop: a language model that looks at the prompt's images through gated cross-attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from app.inference.generation.decoder import Decoder, Inputs, ends_of
from app.inference.generation.slots import Slots


class IdeficsDecoder(Decoder):
    """A row keeps what the tower made of its images, and which of them its last token looks at."""

    extra_step = 4

    def columns_beside(self, item: Inputs) -> int:
        """Columns for the images of the prompt."""
        return int(item["pixel_values"].shape[1])

    def read_prompts(
        self, model: Any, inputs: Inputs, lengths: Sequence[int], slots: Slots, first: int
    ) -> torch.Tensor:
        """All images through the tower at once, then all prompts."""
        slots.cache.read_prompts(first)
        seen = {key: value for key, value in inputs.items() if key != "attention_mask"}
        read = model.model(**seen, past_key_values=slots.cache, use_cache=True)
        looks = inputs["image_attention_mask"]
        last = torch.tensor([length - 1 for length in lengths], device=looks.device)
        rows = torch.arange(len(lengths), device=looks.device)
        slots.keep("looks", first, looks[rows, last], along=1)
        slots.keep("images", first, read.image_hidden_states, along=1)
        return ends_of(read.last_hidden_state, lengths, model.lm_head)

    def read_tokens(self, model: Any, slots: Slots, count: int, used: int, extra: int) -> torch.Tensor:
        """One token a row, looking at the images that are kept."""
        images = slots.read_kept("images", count, extra).contiguous()
        name = "perceiver_embeddings" if self.config.use_resampler else "image_encoder_embeddings"
        states = model.model(
            input_ids=slots.tokens[:count, None],
            attention_mask=slots.mask(count, used, images.dtype),
            position_ids=slots.positions[:count, None],
            image_attention_mask=slots.read_kept("looks", count, extra)[:, None],
            past_key_values=slots.cache,
            use_cache=True,
            **{name: images},
        ).last_hidden_state
        logits: torch.Tensor = model.lm_head(states)[:, 0]
        return logits
