"""BLIP's two heads in the loop: a text decoder that looks at an image, or at a question that was read with one.

What is looked at does not change while an answer grows, so its keys and values are kept a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from transformers import Cache, EncoderDecoderCache

from app.inference.generation.decoder import Decoder, Inputs, ends_of
from app.inference.generation.slots import Slots, hide


class _SeenCache(Cache):
    """Cross-attention's keys and values: kept in the slots while prompts are read, lent by them afterwards."""

    def __init__(self, slots: Slots, layers: int, first: int, lent: tuple[int, int] | None) -> None:
        super().__init__(layers=[])
        self._slots, self._first = slots, first
        if lent is not None:
            kept: Any = [
                SimpleNamespace(
                    keys=slots.read_kept(f"keys {n}", *lent), values=slots.read_kept(f"values {n}", *lent)
                )
                for n in range(layers)
            ]
            self.layers = kept

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """float[n, heads, columns, width] as they came."""
        self._slots.keep(f"keys {layer_idx}", self._first, key_states, along=2)
        self._slots.keep(f"values {layer_idx}", self._first, value_states, along=2)
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """No cache is kept."""
        return 0


class BlipDecoder(Decoder):
    """`begin` and `see` are what the two heads differ in."""

    def language_config(self, model: Any) -> Any:
        """The configuration of the text decoder."""
        return model.text_decoder.config

    def generation_config(self, model: Any) -> Any:
        """BLIP's `generate` hands everything on to that of its text decoder."""
        return model.text_decoder.generation_config

    def begin(self, model: Any, inputs: Inputs) -> torch.Tensor:
        """int64[n, tokens]: what the text decoder begins with."""
        raise NotImplementedError

    def see(self, model: Any, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """float[n, columns, width] and bool[n, columns]: what the text decoder looks at, and which of it counts."""
        raise NotImplementedError

    def read_prompts(
        self, model: Any, inputs: Inputs, lengths: Sequence[int], slots: Slots, first: int
    ) -> torch.Tensor:
        """Images, then questions, then the beginnings of the answers, each all at once."""
        seen, counts = self.see(model, inputs)
        hidden = hide(counts, seen.dtype)[:, None, None]
        slots.keep("counts", first, counts, along=1)
        slots.cache.read_prompts(first)
        begun = self.begin(model, inputs)
        causal = torch.ones(begun.shape[1], begun.shape[1], dtype=torch.bool, device=begun.device).tril()
        states = model.text_decoder.bert(
            input_ids=begun,
            attention_mask=hide(causal, seen.dtype)[None, None].expand(begun.shape[0], 1, -1, -1),
            position_ids=torch.arange(begun.shape[1], device=begun.device)[None],
            encoder_hidden_states=seen,
            encoder_attention_mask=hidden,
            past_key_values=EncoderDecoderCache(
                slots.cache, _SeenCache(slots, self.layers, first, lent=None)
            ),
            use_cache=True,
            is_decoder=True,
        ).last_hidden_state
        return ends_of(states, lengths, model.text_decoder.cls)

    def read_tokens(self, model: Any, slots: Slots, count: int, used: int, extra: int) -> torch.Tensor:
        """One token a row, looking at what is kept."""
        counts = slots.read_kept("counts", count, extra)
        dtype = model.dtype
        cache = EncoderDecoderCache(slots.cache, _SeenCache(slots, self.layers, 0, lent=(count, extra)))
        cache.is_updated = dict.fromkeys(range(self.layers), True)
        states = model.text_decoder.bert(
            input_ids=slots.tokens[:count, None],
            attention_mask=slots.mask(count, used, dtype),
            position_ids=slots.positions[:count, None],
            encoder_hidden_states=counts,  # only that there is something; its keys and values are kept
            encoder_attention_mask=hide(counts, dtype)[:, None, None],
            past_key_values=cache,
            use_cache=True,
            is_decoder=True,
        ).last_hidden_state
        logits: torch.Tensor = model.text_decoder.cls(states)[:, 0]
        return logits


class VqaDecoder(BlipDecoder):
    """Looks at a question that was read with the image, and begins with its one begin token."""

    extra_step = 32

    def lengths(self, items: Sequence[Inputs]) -> list[int]:
        """One token each: the begin token."""
        return [1] * len(items)

    def columns_beside(self, item: Inputs) -> int:
        """Columns for the tokens of the question."""
        return int(item["input_ids"].shape[1])

    def begin(self, model: Any, inputs: Inputs) -> torch.Tensor:
        """int64[n, 1]."""
        return torch.full_like(inputs["input_ids"][:, :1], model.decoder_start_token_id)

    def see(self, model: Any, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """The questions' states; what pads a question does not count."""
        images = model.vision_model(pixel_values=inputs["pixel_values"])[0]
        counts = inputs["attention_mask"]
        states = model.text_encoder(
            input_ids=inputs["input_ids"],
            attention_mask=counts,
            encoder_hidden_states=images,
            encoder_attention_mask=torch.ones(images.shape[:-1], dtype=torch.long, device=images.device),
            return_dict=False,
        )[0]
        return states, counts.bool()


class CaptionDecoder(BlipDecoder):
    """Looks at the image, and continues the prompt without its closing [SEP], or begins with [DEC]."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        vision = model.config.vision_config
        self._patches: int = (vision.image_size // vision.patch_size) ** 2 + 1

    def lengths(self, items: Sequence[Inputs]) -> list[int]:
        """Tokens of the text that each caption continues; one, the begin token, without a text."""
        return [int(item["input_ids"].shape[1]) - 1 if "input_ids" in item else 1 for item in items]

    def columns_beside(self, item: Inputs) -> int:
        """Columns for the patches of the image."""
        return self._patches

    def begin(self, model: Any, inputs: Inputs) -> torch.Tensor:
        """int64[n, tokens], [DEC] first, as the head's own `generate` has it."""
        start = model.config.text_config.bos_token_id
        if "input_ids" not in inputs:
            pixels = inputs["pixel_values"]
            return torch.full((pixels.shape[0], 1), start, dtype=torch.int64, device=pixels.device)
        begun = inputs["input_ids"][:, :-1].clone()
        begun[:, 0] = start
        return begun

    def see(self, model: Any, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """The image's patches, all of them."""
        images = model.vision_model(pixel_values=inputs["pixel_values"])[0]
        return images, torch.ones(images.shape[:-1], dtype=torch.bool, device=images.device)
