"""The forward passes that a family brings to the loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from app.inference.generation.slots import Slots

Inputs = Mapping[str, torch.Tensor]
DEFAULT_TOP_K = 50
"""Likeliest words among which is drawn where the checkpoint says nothing, as in transformers' `generate`."""


class Decoder(ABC):
    """How a family reads whole prompts, and then one token a row."""

    extra_step = 1
    """What `extra` is rounded up to a multiple of, so that others with a little more may join."""

    def __init__(self, model: Any) -> None:
        """Takes no hold of the weights: they are lent for each batch."""
        self.config = self.language_config(model)
        self.layers = int(self.config.num_hidden_layers)
        generation = self.generation_config(model)
        top_k = getattr(generation, "top_k", None)
        self.top_k = DEFAULT_TOP_K if top_k is None else int(top_k)
        self.is_supported = _attends_to_all(self.config) and _chooses_plainly(generation)
        """Whether the loop comes to what transformers' `generate` would say."""

    def language_config(self, model: Any) -> Any:
        """The configuration of the layers that keep keys and values."""
        return model.config.get_text_config()

    def generation_config(self, model: Any) -> Any:
        """What the checkpoint says of choosing tokens."""
        return model.generation_config

    def lengths(self, items: Sequence[Inputs]) -> list[int]:
        """Tokens that each prompt takes in its slot, from its tensors of batch size 1."""
        return [int(item["input_ids"].shape[1]) for item in items]

    def columns_beside(self, item: Inputs) -> int:
        """Columns that a prompt takes of what else is kept a row (`Slots.keep`)."""
        return 0

    @abstractmethod
    def read_prompts(
        self, model: Any, inputs: Inputs, lengths: Sequence[int], slots: Slots, first: int
    ) -> torch.Tensor:
        """Read n prompts, padded behind, into the slots from `first` on; float[n, words] of what follows each."""

    @abstractmethod
    def read_tokens(self, model: Any, slots: Slots, count: int, used: int, extra: int) -> torch.Tensor:
        """Read the next token of the first `count` slots; float[count, words].

        `used` columns of keys and values and `extra` of the rest count. Everything that changes from step to step is
        read from `slots`, so that the pass can be captured once and replayed.
        """


class SequenceDecoder(Decoder):
    """A language model that reads image, question and answer in one row."""

    def __init__(self, model: Any, language: str) -> None:
        """`language` is the path of the language model."""
        super().__init__(model)
        self._language = language

    def read_prompts(
        self, model: Any, inputs: Inputs, lengths: Sequence[int], slots: Slots, first: int
    ) -> torch.Tensor:
        """All images through the tower at once, then all prompts through the language model."""
        slots.cache.read_prompts(first)
        seen = {key: value for key, value in inputs.items() if key != "attention_mask"}
        states = model.model(**seen, past_key_values=slots.cache, use_cache=True).last_hidden_state
        return ends_of(states, lengths, model.lm_head)

    def read_tokens(self, model: Any, slots: Slots, count: int, used: int, extra: int) -> torch.Tensor:
        """One token a row through the language model alone."""
        language = model.get_submodule(self._language)
        embedded = language.get_input_embeddings()(slots.tokens[:count, None])
        states = language(
            inputs_embeds=embedded,
            attention_mask=slots.mask(count, used, embedded.dtype),
            position_ids=slots.positions[:count, None],
            past_key_values=slots.cache,
            use_cache=True,
        ).last_hidden_state
        logits: torch.Tensor = model.lm_head(states)[:, 0]
        return logits


def ends_of(states: torch.Tensor, lengths: Sequence[int], head: Any) -> torch.Tensor:
    """float[n, tokens, width] to float[n, words]: what the head says after the last token of each prompt."""
    rows = torch.arange(len(lengths), device=states.device)
    last = torch.tensor([length - 1 for length in lengths], device=states.device)
    logits: torch.Tensor = head(states[rows, last][:, None])[:, 0]
    return logits


def _attends_to_all(config: Any) -> bool:
    """Whether every layer looks at the whole context; a window that is never left counts."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if not kinds <= {"full_attention", "sliding_attention"}:
        return False
    window = getattr(config, "sliding_window", None)
    is_windowed = "sliding_attention" in kinds or (window and getattr(config, "use_sliding_window", True))
    return not is_windowed or (window or 0) >= config.max_position_embeddings


_PLAIN: dict[str, tuple[Any, ...]] = {
    "repetition_penalty": (1.0,),
    "encoder_repetition_penalty": (1.0,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "bad_words_ids": (),
    "sequence_bias": (),
    "suppress_tokens": (),
    "begin_suppress_tokens": (),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "exponential_decay_length_penalty": (),
    "guidance_scale": (1.0,),
    "penalty_alpha": (0.0,),
    "min_p": (0.0,),
    "typical_p": (1.0,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "stop_strings": (),
    "prompt_lookup_num_tokens": (),
    "watermarking_config": (),
}
"""Settings of `generate` that the loop does not know, with the values besides None at which they do nothing."""


def _chooses_plainly(generation: Any) -> bool:
    return all(
        (value := getattr(generation, name, None)) is None or value in neutral
        for name, neutral in _PLAIN.items()
    )
