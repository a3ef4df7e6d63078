"""A vision-language model taken apart into graphs: what runs once for an image and a question, and what for each token.

One function a family. What a graph takes and gives is named as `answer.py`, the runner, hands it on: by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache

from app.families.blip.vlm import BlipCaption, BlipVqa
from app.families.flamingo.vlm import IdeficsVlm
from app.families.llava.vlm import LlavaVlm
from app.families.transformers_vlm import FAKE, IMAGE, TransformersVlm
from app.inference.errors import ModelTaskError
from app.inference.prompts import CAPTION_PROMPT

Axes = Mapping[int, str]
_BATCH: Axes = {0: "batch"}
_TOKENS: Axes = {0: "batch", 1: "sequence"}
_MASK: Axes = {0: "batch", 1: "total_sequence"}
_PAST: Axes = {0: "batch", 2: "past_sequence"}
_FEATURES: Axes = {0: "batch", 1: "features"}
_CROSS: Axes = {0: "batch", 2: "features"}
PROMPT_SLOT = "{question}"


class _Part(nn.Module):
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


def take_apart(vlm: TransformersVlm) -> Parts:
    """The graphs of a model; raises ModelTaskError for a family that cannot be written so."""
    if isinstance(vlm, LlavaVlm):
        return _llava(vlm)
    if isinstance(vlm, BlipVqa | BlipCaption):
        return _blip(vlm)
    if isinstance(vlm, IdeficsVlm):
        return _idefics(vlm)
    raise ModelTaskError(
        f"The vision tower of '{vlm.name}' cannot be written as ONNX: models of type "
        f"'{vlm.model.config.model_type}' cut an image into a number of tiles that differs from image to image, and "
        "each tile's tokens are laid out in the prompt, which the exported graphs and their runner do not do."
    )


def _llava(vlm: LlavaVlm) -> Parts:
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
            past_key_values=_cache(past),
            use_cache=True,
        )
        return head(found.last_hidden_state), *_flat(found.past_key_values)

    text = config.text_config
    past = _cache_names(text.num_hidden_layers)
    dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    embed = language.get_input_embeddings()
    return Parts(
        graphs={
            "vision_tower": _vision_tower(_Part(see, model.vision_tower)),
            "projector": Graph(
                _Part(model.multi_modal_projector, model.multi_modal_projector),
                {"image_features": _BATCH},
                ("image_embeds",),
                "The image's features as embeddings of the language model.",
            ),
            "embed_tokens": Graph(
                _Part(embed, embed),
                {"input_ids": _TOKENS},
                ("inputs_embeds",),
                "Embeddings of tokens. Those of the image tokens are then replaced by image_embeds, in order.",
            ),
            "decoder": _decoder(_Part(decode, language, head), {"inputs_embeds": _TOKENS}, past),
        },
        before=("vision_tower", "projector"),
        cache=(text.num_key_value_heads, dim),
        prompt=vlm.write_prompt(PROMPT_SLOT),
        caption=CAPTION_PROMPT,
        image_token=vlm.processor.image_token,
    )


def _blip(vlm: BlipVqa | BlipCaption) -> Parts:
    model, text = vlm.model, vlm.model.config.text_config
    cross = [layer.crossattention.self for layer in model.text_decoder.bert.encoder.layer]
    heads, dim = text.num_attention_heads, text.hidden_size // text.num_attention_heads
    asks = isinstance(vlm, BlipVqa)

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

    names = _cache_names(len(cross), "cross")
    past = _cache_names(text.num_hidden_layers)
    graphs = {"vision_tower": _vision_tower(_Part(see, model.vision_model))}
    if asks:
        graphs["question_encoder"] = Graph(
            _Part(read, model.text_encoder),
            {"input_ids": _TOKENS, "attention_mask": _TOKENS, "image_features": _BATCH},
            ("question_features",),
            "Reads the question while it looks at the image.",
        )
    graphs["projector"] = Graph(
        _Part(project, *cross),
        {"question_features": _FEATURES} if asks else {"image_features": _BATCH},
        names,
        "Keys and values of the decoder's cross-attention, computed once and not for each token. The decoder attends "
        "to all of them: what is answered together has one length.",
    )
    decoder = _Part(_blip_step(model.text_decoder, len(cross)), model.text_decoder)
    inputs = {"input_ids": _TOKENS, **dict.fromkeys(names, _CROSS if asks else _BATCH)}
    return Parts(
        graphs={**graphs, "decoder": _decoder(decoder, inputs, past, masked=False)},
        before=tuple(graphs),
        cache=(heads, dim),
        start=text.bos_token_id,
    )


def _blip_step(decoder: Any, layers: int) -> Callable[..., Any]:
    def decode(ids: torch.Tensor, *kept: torch.Tensor) -> Any:
        crossed, past = kept[: 2 * layers], kept[2 * layers :]
        cache = EncoderDecoderCache(_cache(past), _cache(crossed))
        cache.is_updated = dict.fromkeys(range(layers), True)
        # whose keys and values are in the cache, of those encoder states only their presence is asked
        found = decoder(
            input_ids=ids,
            encoder_hidden_states=crossed[0],
            past_key_values=cache,
            use_cache=True,
            is_decoder=True,
        )
        return found.logits, *_flat(found.past_key_values.self_attention_cache)

    return decode


def _idefics(vlm: IdeficsVlm) -> Parts:
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
            past_key_values=_cache(past),
            use_cache=True,
            **{given: image[:, None]},
        )
        return found.logits, *_flat(found.past_key_values)

    graphs = {"vision_tower": _vision_tower(_Part(see, model.vision_model))}
    if resampled:
        graphs["projector"] = Graph(
            _Part(model.perceiver_resampler, model.perceiver_resampler),
            {"image_features": _BATCH},
            ("image_embeds",),
            "The perceiver: the image's features drawn together into few.",
        )
    inputs = {"input_ids": _TOKENS, source: _BATCH, "image_attention_mask": _TOKENS}
    past = _cache_names(config.num_hidden_layers)
    graphs["decoder"] = _decoder(_Part(decode, whole), inputs, past)
    return Parts(
        graphs=graphs,
        before=tuple(name for name in graphs if name != "decoder"),
        cache=(config.num_attention_heads, config.hidden_size // config.num_attention_heads),
        prompt=f"{vlm.processor.tokenizer.bos_token}{FAKE}{IMAGE}{FAKE}Question: {PROMPT_SLOT} Answer:",
        caption=CAPTION_PROMPT,
        add_special_tokens=False,
        image_token=IMAGE,
    )


def _vision_tower(part: nn.Module) -> Graph:
    return Graph(
        part,
        {"pixel_values": _BATCH},
        ("image_features",),
        "Pixels, as preprocessing.json describes them, to the image's features.",
    )


def _decoder(
    part: nn.Module, inputs: Mapping[str, Axes], past: tuple[str, ...], *, masked: bool = True
) -> Graph:
    mask = {"attention_mask": _MASK} if masked else {}
    return Graph(
        part,
        {**inputs, **mask, **dict.fromkeys(past, _PAST)},
        ("logits", *(name.replace("past_key_values", "present") for name in past)),
        "The next token after each one. Starts with past_key_values of length 0; `present.*` are the next step's "
        "`past_key_values.*`"
        + (", and attention_mask then covers past and new tokens (0: padding)." if masked else "."),
    )


def _cache_names(layers: int, prefix: str = "past_key_values") -> tuple[str, ...]:
    return tuple(f"{prefix}.{layer}.{kind}" for layer in range(layers) for kind in ("key", "value"))


def _cache(flat: tuple[torch.Tensor, ...]) -> DynamicCache:
    """Keys and values of all layers, in turn, as transformers holds them."""
    cache = DynamicCache()
    for layer in range(len(flat) // 2):
        cache.update(flat[2 * layer], flat[2 * layer + 1], layer)
    return cache


def _flat(cache: DynamicCache) -> tuple[torch.Tensor, ...]:
    layers: list[Any] = cache.layers
    return tuple(tensor for layer in layers for tensor in (layer.keys, layer.values))
