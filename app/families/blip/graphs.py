"""The graphs of BLIP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import EncoderDecoderCache

from app.families.graphs import (
    BATCH,
    CROSS,
    FEATURES,
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


def take_apart(vlm: Any) -> Parts:
    """See `TransformersVlm.take_apart`; `vlm` is a BlipVqa or a BlipCaption."""
    model, text = vlm.model, vlm.model.config.text_config
    cross = [layer.crossattention.self for layer in model.text_decoder.bert.encoder.layer]
    heads, dim = text.num_attention_heads, text.hidden_size // text.num_attention_heads
    asks = vlm.answers_by == "decoder"

    def see(pixels: torch.Tensor) -> Any:
        return model.vision_model(pixel_values=pixels).last_hidden_state

    def read(ids: torch.Tensor, mask: torch.Tensor, image: torch.Tensor) -> Any:
        return model.text_encoder(
            input_ids=ids, attention_mask=mask, encoder_hidden_states=image
        ).last_hidden_state

    def project(features: torch.Tensor) -> Any:
        shape = (features.shape[0], features.shape[1], heads, dim)
        linears = [linear for layer in cross for linear in (layer.key, layer.value)]
        return tuple(linear(features).view(shape).transpose(1, 2) for linear in linears)

    names = cache_names(len(cross), "cross")
    past = cache_names(text.num_hidden_layers)
    graphs = {"vision_tower": vision_tower_graph(Part(see, model.vision_model))}
    if asks:
        graphs["question_encoder"] = Graph(
            Part(read, model.text_encoder),
            {"input_ids": TOKENS, "attention_mask": TOKENS, "image_features": BATCH},
            ("question_features",),
            "Reads the question while it looks at the image.",
        )
    graphs["projector"] = Graph(
        Part(project, *cross),
        {"question_features": FEATURES} if asks else {"image_features": BATCH},
        names,
        "Keys and values of the decoder's cross-attention, computed once and not for each token. The decoder attends "
        "to all of them: what is answered together has one length.",
    )
    decoder = Part(_blip_step(model.text_decoder, len(cross)), model.text_decoder)
    inputs = {"input_ids": TOKENS, **dict.fromkeys(names, CROSS if asks else BATCH)}
    return Parts(
        graphs={**graphs, "decoder": decoder_graph(decoder, inputs, past, masked=False)},
        before=tuple(graphs),
        cache=(heads, dim),
        start=text.bos_token_id,
    )


def _blip_step(decoder: Any, layers: int) -> Callable[..., Any]:
    def decode(ids: torch.Tensor, *kept: torch.Tensor) -> Any:
        crossed, past = kept[: 2 * layers], kept[2 * layers :]
        cache = EncoderDecoderCache(to_cache(past), to_cache(crossed))
        cache.is_updated = dict.fromkeys(range(layers), True)
        # whose keys and values are in the cache, of those encoder states only their presence is asked
        found = decoder(
            input_ids=ids,
            encoder_hidden_states=crossed[0],
            past_key_values=cache,
            use_cache=True,
            is_decoder=True,
        )
        return found.logits, *flatten_cache(found.past_key_values.self_attention_cache)

    return decode
