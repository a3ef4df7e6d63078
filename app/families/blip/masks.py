"""What transformers' BLIP looks at: its cross-attention is made to heed its mask."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.models.blip.modeling_blip_text import BlipTextAttention

_HEEDS = "_heeds_cross_mask"


def heed_cross_masks(model: nn.Module) -> None:
    """Hide from every cross-attention of `model` what its mask hides, such as the padding of a shorter question.

    `BlipTextLayer.forward` gives its cross-attention the mask as `attention_mask`, `BlipTextSelfAttention.forward`
    reads `encoder_attention_mask` (transformers 5.23): an answer would depend on the questions beside it.
    """
    for part in model.modules():
        if isinstance(part, BlipTextAttention) and not hasattr(part.self, _HEEDS):
            part.self.register_forward_pre_hook(_pass_mask_on, with_kwargs=True)
            setattr(part.self, _HEEDS, True)


def _pass_mask_on(
    attention: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if named.get("encoder_hidden_states") is not None and named.get("encoder_attention_mask") is None:
        named = {**named, "encoder_attention_mask": named.get("attention_mask")}
    return given, named
