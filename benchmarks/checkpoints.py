"""Checkpoints of well-known shapes whose weights are random: they run as fast as the real ones and know nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers

from app.inference.sources import CHECKPOINTS

CLIP_SHAPES: dict[str, dict[str, Any]] = {
    "clip-vit-b-32": {"side": 224, "vision": {"patch_size": 32}},
    "clip-vit-l-14": {
        "side": 224,
        "projection_dim": 768,
        "vision": {
            "patch_size": 14,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
        },
        "text": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
    },
    # ViT-B/32's preprocessing before a tower that does next to nothing: one patch, one layer
    "clip-preprocessing": {
        "side": 224,
        "projection_dim": 32,
        "vision": {
            "patch_size": 224,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
        },
        "text": {
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
        },
    },
    "clip-small": {
        "side": 64,
        "projection_dim": 64,
        "vision": {
            "patch_size": 16,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        "text": {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
    },
}
"""Name -> input side in pixels and what differs from `transformers.CLIPConfig`'s defaults (ViT-B/32)."""

_MEAN, _STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def random_clip(folder: Path, shape: str = "clip-vit-b-32") -> Path:
    """A CLIP of one of `CLIP_SHAPES` in Hugging Face's format, with our tiny CLIP's tokenizer."""
    own = CHECKPOINTS / "clip-tiny"
    tokenizer = transformers.AutoTokenizer.from_pretrained(own)
    torch.manual_seed(0)
    wanted = CLIP_SHAPES[shape]
    side = wanted["side"]
    # the tokenizer pads with the same token that ends a text, and as every CLIP's with the highest id
    text = {"vocab_size": len(tokenizer)}
    text |= {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    dim = {"projection_dim": wanted.get("projection_dim", 512)}
    config = transformers.CLIPConfig(
        text_config=text | wanted.get("text", {}) | dim,
        vision_config={"image_size": side} | wanted["vision"] | dim,
        **dim,
    )
    folder.mkdir(parents=True, exist_ok=True)
    transformers.CLIPModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(own / name, folder / name)
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": _MEAN,
        "image_std": _STD,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder


def random_llava(folder: Path, *, whole: bool, device: str, dtype: torch.dtype) -> Path:
    """LLaVA 1.5 of 7B parameters (576 image tokens), or a tiny one of the same parts; our tokenizer and template.

    Its answers never end by themselves, so that each has as many tokens as were asked for.
    """
    own = CHECKPOINTS / "llava-shapes"
    tokenizer = transformers.AutoTokenizer.from_pretrained(own)
    vision: dict[str, Any] = {"image_size": 64, "patch_size": 8, "hidden_size": 64, "intermediate_size": 128}
    vision |= {"num_hidden_layers": 3, "num_attention_heads": 2}
    text: dict[str, Any] = {"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128}
    text |= {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 1024}
    if whole:
        vision = {"image_size": 336, "patch_size": 14, "hidden_size": 1024, "intermediate_size": 4096}
        vision |= {"num_hidden_layers": 24, "num_attention_heads": 16, "projection_dim": 768}
        text = {"vocab_size": 32_064, "hidden_size": 4096, "intermediate_size": 11_008}
        text |= {"num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 4096}
    side, patch = vision["image_size"], vision["patch_size"]
    ids = {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**vision),
        text_config=transformers.LlamaConfig(
            **text, **{f"{name}_token_id": id_ for name, id_ in ids.items()}
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(side // patch) ** 2,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = transformers.LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    with torch.no_grad():
        # a logit of 0 is never the largest of so many, so neither an end nor a made-up token is ever chosen
        model.lm_head.weight[list(tokenizer.all_special_ids)] = 0
        model.lm_head.weight[len(tokenizer) :] = 0
    model.generation_config = transformers.GenerationConfig(
        **{f"{name}_token_id": id_ for name, id_ in ids.items()}, do_sample=False
    )
    model.save_pretrained(folder)
    for file in own.iterdir():
        if file.name.startswith(("tokenizer", "chat_template")):
            shutil.copyfile(file, folder / file.name)
    processor = json.loads((own / "processor_config.json").read_text(encoding="utf-8"))
    processor["patch_size"] = patch
    processor["image_processor"]["size"] = {"height": side, "width": side}
    (folder / "processor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder
