"""`lite` as modules that training changes and exporting writes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from app.families import text_mapping
from app.families.hugging_face_training import tokens_of
from app.families.lite import encoder as lite
from app.families.lite import networks, sentences
from app.families.lite.features import expected_features
from app.families.lite.variants import CROP, DIMS, MAX_TOKENS, SIDE, Variant, fingerprint
from app.inference.aspect import MAX_ASPECT
from app.inference.family import ImageTower, TextSide

_PREPROCESSING = {
    "max_aspect": MAX_ASPECT,
    "box": CROP,
    "shortest_edge": None,
    "width": SIDE,
    "height": SIDE,
    "resample": int(Image.Resampling.BILINEAR),
    "crop": None,
    "scale": 1.0,
    "mean": [127.0] * 3,
    "std": [128.0] * 3,
    "layout": "NCHW, RGB, float32",
}
"""See `app.families.hugging_face_training.preprocessing`; `box` is the share of the shorter side whose middle square
is cut out while it is scaled."""


def image_tower(name: str, variant: Variant) -> ImageTower:
    module = networks.build(variant)
    return ImageTower(
        name,
        "lite",
        module.requires_grad_(True),
        lite.prepare,
        torch.from_numpy(expected_features(module)),
        DIMS[variant],
        SIDE,
        lite.TEMPERATURES[variant],
        fingerprint(variant),
        None,
        _PREPROCESSING,
        "tail",
    )


def apply_tail(tower: ImageTower, folder: Path) -> None:
    """Put the weights of a trained model's last stages in place of the tower's own."""
    tower.module.load_state_dict(load_file(folder / lite.TAIL), strict=False)


def write(tower: ImageTower, folder: Path) -> None:
    """The network's weights and the features' centre in one file."""
    state = {name: tensor.contiguous() for name, tensor in tower.module.state_dict().items()}
    save_file({**state, "centre": tower.centre.contiguous()}, folder / "model.safetensors")


class _LiteText(nn.Module):
    """MiniLM, mean pooling and the mapping of `app.families.text_mapping`, step by step."""

    anchors: torch.Tensor
    rows: torch.Tensor
    anchor_mean: torch.Tensor
    linear: torch.Tensor

    def __init__(self, model: nn.Module, mapping: text_mapping.TextMapping) -> None:
        super().__init__()
        self.model = model
        self.neighbours = min(text_mapping.NEIGHBOURS, len(mapping.anchors))
        for name in mapping._fields:
            self.register_buffer(name, torch.from_numpy(getattr(mapping, name)))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        unit = nn.functional.normalize
        sentence = unit((hidden * mask).sum(1) / mask.sum(1), dim=-1)
        linear = unit((sentence - self.anchor_mean) @ self.linear, dim=-1)
        nearest, index = (sentence @ self.anchors.T).topk(self.neighbours, dim=1)
        weights = torch.softmax(text_mapping.NEIGHBOUR_TEMPERATURE * nearest, dim=1)
        blended = unit((weights.unsqueeze(-1) * self.rows[index]).sum(1), dim=-1)
        share = text_mapping.NEIGHBOUR_SHARE
        return unit((1 - share) * linear + share * blended, dim=-1)


def text_side(variant: Variant) -> TextSide:
    model = transformers.AutoModel.from_pretrained(
        sentences.folder(), local_files_only=True, use_safetensors=True, attn_implementation="eager"
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(sentences.folder(), local_files_only=True)
    rows, anchors = networks.named_classes(variant)
    module = _LiteText(model, text_mapping.fit(anchors, rows)).eval()
    return TextSide(module, partial(tokens_of, tokenizer, True, MAX_TOKENS), tokenizer)
