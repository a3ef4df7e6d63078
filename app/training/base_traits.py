"""What a model's own files fix: sizes, preprocessing, tokenizer, context.

Reads the small JSON files beside the weights; loads nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.families import FAMILIES
from app.training.config_sections import Kind

_MAX_FILE_BYTES = 16 << 20


@dataclass(frozen=True)
class BaseTraits:
    """A model that training starts from. What its files do not tell is None, or empty."""

    name: str
    kind: Kind
    family: str
    image_size: int | None = None
    """Pixels a side of what it sees."""
    patch_size: int | None = None
    """Pixels a side; None also for towers that cut no patches."""
    vision_types: frozenset[str] = frozenset()
    """Lower-case words for its image tower or its preprocessing, such as `clip`."""
    tokenizers: frozenset[str] = frozenset()
    """Lower-case words for its tokenizer, such as `llama`."""
    crops: bool | None = None
    """Whether its preprocessing cuts the middle out."""
    normalizes: bool = True
    context_tokens: int | None = None


def read_traits(name: str, kind: Kind, family: str, folder: Path | None) -> BaseTraits:
    """The traits of the checkpoint in `folder`; None stands for a family's built-in model."""
    if folder is None:
        own = FAMILIES.get(family)
        return BaseTraits(
            name, kind, family, own.image_side, None, own.vision_words, own.tokenizer_words, crops=True
        )
    config = _read(folder, "config.json")
    vision, text = _part(config, "vision_config"), _part(config, "text_config")
    images = _read(folder, "preprocessor_config.json") or _part(
        _read(folder, "processor_config.json"), "image_processor"
    )
    tokenizer = _read(folder, "tokenizer_config.json")
    crops = images.get("do_center_crop")
    size = _side(images.get("crop_size")) if crops else _side(images.get("size"))
    return BaseTraits(
        name,
        kind,
        family,
        image_size=size or _side(vision.get("image_size")),
        patch_size=_side(vision.get("patch_size")),
        vision_types=_words(
            family,
            vision.get("model_type"),
            images.get("image_processor_type"),
            images.get("feature_extractor_type"),
        ),
        tokenizers=_words(
            family, text.get("model_type") or config.get("model_type"), tokenizer.get("tokenizer_class")
        ),
        crops=bool(crops) if images else None,
        normalizes=bool(images.get("do_normalize", True)),
        context_tokens=_side((text or config).get("max_position_embeddings")),
    )


def normalise_word(word: str) -> str:
    """`CLIPImageProcessor`, `clip_vision_model` and `CLIP` are all `clip`."""
    found = word.strip().lower().replace("-", "_").replace(" ", "_").rsplit("/", 1)[-1]
    for ending in ("fast", "imageprocessor", "featureextractor", "tokenizer", "_vision_model", "_text_model"):
        found = found.removesuffix(ending)
    return found.removesuffix("_vision").removesuffix("_model").strip("_")


def _words(*given: Any) -> frozenset[str]:
    found = frozenset(normalise_word(word) for word in given if isinstance(word, str))
    return found - {"", "tokenizersbackend", "pretrained"}


def _side(value: Any) -> int | None:
    if isinstance(value, dict):
        value = next(
            (value[key] for key in ("shortest_edge", "height", "longest_edge") if key in value), None
        )
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _part(document: dict[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        if (folder / name).stat().st_size > _MAX_FILE_BYTES:
            return {}
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
