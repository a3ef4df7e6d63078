"""The graphs of LLaVA."""

from __future__ import annotations

from typing import Any

import torch

from app.families.graphs import (
    BATCH,
    PROMPT_SLOT,
    TOKENS,
    Graph,
    Part,
    Parts,
    cache_names,
    decoder_graph,
    flatten_cache,
    to_cache,
    vision_tower_graph,
)
from app.inference.prompts import CAPTION_PROMPT


def take_apart(vlm: Any) -> Parts:
    """See `TransformersVlm.take_apart`; `vlm` is a LlavaVlm."""
    model, config = vlm.model.model, vlm.model.config
    language, head, layers = model.language_model, vlm.model.lm_head, config.vision_feature_layer
    first = 1 if config.vision_feature_select_strategy == "default" else 0

    def see(pixels: torch.Tensor) -> Any:
        states = model.vision_tower(pixels, output_hidden_states=True).hidden_states
        wanted = [layers] if isinstance(layers, int) else layers
        return torch.cat([states[layer][:, first:] for layer in wanted], dim=-1)

    def decode(embeds: torch.Tensor, mask: torch.Tensor, *past: torch.Tensor) -> Any:
        places = (mask.cumsum(-1) - 1).clamp(min=0)[:, -embeds.shape[1] :]
        found = language(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=places,
            past_key_values=to_cache(past),
            use_cache=True,
        )
        return head(found.last_hidden_state), *flatten_cache(found.past_key_values)

    text = config.text_config
    past = cache_names(text.num_hidden_layers)
    dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    embed = language.get_input_embeddings()
    return Parts(
        graphs={
            "vision_tower": vision_tower_graph(Part(see, model.vision_tower)),
            "projector": Graph(
                Part(model.multi_modal_projector, model.multi_modal_projector),
                {"image_features": BATCH},
                ("image_embeds",),
                "The image's features as embeddings of the language model.",
            ),
            "embed_tokens": Graph(
                Part(embed, embed),
                {"input_ids": TOKENS},
                ("inputs_embeds",),
                "Embeddings of tokens. Those of the image tokens are then replaced by image_embeds, in order.",
            ),
            "decoder": decoder_graph(Part(decode, language, head), {"inputs_embeds": TOKENS}, past),
        },
        before=("vision_tower", "projector"),
        cache=(text.num_key_value_heads, dim),
        prompt=vlm.write_prompt(PROMPT_SLOT),
        caption=CAPTION_PROMPT,
        image_token=vlm.processor.image_token,
    )
