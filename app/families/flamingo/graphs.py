"""The graphs of Idefics. Idefics3 and SmolVLM have none: they cut an image into tiles whose number differs."""

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
from app.families.transformers_vlm import FAKE, IMAGE
from app.inference.prompts import CAPTION_PROMPT


def take_apart(vlm: Any) -> Parts:
    """See `TransformersVlm.take_apart`; `vlm` is an IdeficsVlm."""
    whole, config = vlm.model, vlm.model.config
    model, resampled = whole.model, config.use_resampler
    source = "image_embeds" if resampled else "image_features"

    def see(pixels: torch.Tensor) -> Any:
        return model.vision_model(pixel_values=pixels).last_hidden_state

    def decode(
        ids: torch.Tensor, image: torch.Tensor, sees: torch.Tensor, mask: torch.Tensor, *past: Any
    ) -> Any:
        given = "perceiver_embeddings" if resampled else "image_encoder_embeddings"
        found = whole(
            input_ids=ids,
            attention_mask=mask,
            image_attention_mask=sees,
            past_key_values=to_cache(past),
            use_cache=True,
            **{given: image[:, None]},
        )
        return found.logits, *flatten_cache(found.past_key_values)

    graphs = {"vision_tower": vision_tower_graph(Part(see, model.vision_model))}
    if resampled:
        graphs["projector"] = Graph(
            Part(model.perceiver_resampler, model.perceiver_resampler),
            {"image_features": BATCH},
            ("image_embeds",),
            "The perceiver: the image's features drawn together into few.",
        )
    inputs = {"input_ids": TOKENS, source: BATCH, "image_attention_mask": TOKENS}
    past = cache_names(config.num_hidden_layers)
    graphs["decoder"] = decoder_graph(Part(decode, whole), inputs, past)
    return Parts(
        graphs=graphs,
        before=tuple(name for name in graphs if name != "decoder"),
        cache=(config.num_attention_heads, config.hidden_size // config.num_attention_heads),
        prompt=f"{vlm.processor.tokenizer.bos_token}{FAKE}{IMAGE}{FAKE}Question: {PROMPT_SLOT} Answer:",
        caption=CAPTION_PROMPT,
        add_special_tokens=False,
        image_token=IMAGE,
    )
