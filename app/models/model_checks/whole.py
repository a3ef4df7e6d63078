"""An uploaded whole model: its configuration asks for nothing but a model of a family that is served.

Works on `config.json` and on how many numbers lie beside it; the model itself is built when it is tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.errors import InvalidInputError
from app.families import FAMILIES
from app.inference.family import Family
from app.inference.sources import Kind
from app.models.model_checks.processor import MAX_IMAGE_SIDE, MAX_IMAGE_TOKENS, MAX_PATCHES_A_SIDE
from app.models.model_checks.tokenizer import MAX_VOCABULARY
from app.storage.errors import ArchiveError

_INDEX = "model.safetensors.index.json"
_FORBIDDEN = frozenset(
    {
        *("auto_map", "custom_pipelines", "trust_remote_code", "quantization_config", "use_kernels"),
        *(
            "attn_implementation",
            "_attn_implementation",
            "_attn_implementation_internal",
            "experts_implementation",
        ),
    }
)
"""What would bring code of others along, or numbers in a form that is not served."""
MAX_NUMBER = 10_000_000
"""No whole number of a configuration is larger: sizes, token ids."""
MAX_LAYERS = 256
"""Of one part."""
MAX_ENTRIES = 10_000
"""Of a list."""
MAX_KEYS = 25_000
"""Of an object: transformers copies a configuration many times. ImageNet-21k has 21,841 labels."""
_LIMITS = {
    "vocab_size": MAX_VOCABULARY,
    "image_size": MAX_IMAGE_SIDE,
    "image_seq_length": MAX_IMAGE_TOKENS,
    "image_seq_len": MAX_IMAGE_TOKENS,
    "num_channels": 16,
    "num_labels": MAX_KEYS,  # a name is made for each
    "max_position_embeddings": 2_000_000,
}
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",))


def check_whole(folder: Path, kind: str, read: dict[str, Any], tensors: list[str]) -> None:
    """Raise ArchiveError or InvalidInputError unless the folder holds a whole model of a family that is served.

    `read` is every JSON file by its name, `tensors` the names of the safetensors files.
    """
    config = read.get("config.json")
    if not isinstance(config, dict):
        raise ArchiveError("The archive holds no readable config.json.")
    for name, content in read.items():
        if name not in ("tokenizer.json", "vocab.json", _INDEX, "vision.json"):
            _check_keys(name, content)
    family = _family(config, kind)
    for key, value in _numbers(config):
        is_depth = "layer" in key or "depth" in key
        if abs(value) > _LIMITS.get(key, MAX_LAYERS if is_depth else MAX_NUMBER):
            raise InvalidInputError(f"config.json: {key[:100]} is larger than anything that is served.")
    _check_patches(config)
    is_tokenized = any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS)
    if family.reads_texts and not is_tokenized:
        raise ArchiveError("The archive holds no tokenizer.json.")
    _check_weights(read.get(_INDEX), tensors)


def _family(config: dict[str, Any], kind: str) -> Family:
    """The family that accepts a whole model of this configuration."""
    wanted: Kind = "vlm" if kind == "vlm" else "encoder"
    family = FAMILIES.of_config(config, wanted)
    if family is not None:
        return family
    if wanted == "vlm":
        raise InvalidInputError(
            "config.json: whole models are accepted of these architectures: "
            f"{', '.join(FAMILIES.architectures(wanted))}."
        )
    raise InvalidInputError(
        f"config.json: whole encoders are accepted of these types: {', '.join(FAMILIES.model_types(wanted))}."
    )


def _check_patches(config: dict[str, Any]) -> None:
    """No image of so many patches that attention among them takes gigabytes."""
    parts = [config, *(value for value in config.values() if isinstance(value, dict))]
    for part in parts:
        side, patch = part.get("image_size"), part.get("patch_size")
        if isinstance(side, int) and isinstance(patch, int) and not 0 < side <= MAX_PATCHES_A_SIDE * patch:
            raise InvalidInputError(
                f"config.json: an image has more than {MAX_PATCHES_A_SIDE} patches a side, or none."
            )


def _check_weights(index: Any, tensors: list[str]) -> None:
    if index is None:
        files = {"model.safetensors"}
    else:
        shards = index.get("weight_map") if isinstance(index, dict) else None
        files = {str(name) for name in shards.values()} if isinstance(shards, dict) else {""}
    if not files <= set(tensors) or any("/" in name for name in files):
        raise ArchiveError("The archive does not hold the model's weights: model.safetensors.")


def _check_keys(name: str, content: Any) -> None:
    if isinstance(content, dict):
        for key, value in content.items():
            if key in _FORBIDDEN and value is not None:
                raise InvalidInputError(f"{name[:100]}: '{key}' is not accepted.")
            _check_keys(name, value)
    elif isinstance(content, list):
        for value in content:
            _check_keys(name, value)


def _numbers(content: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number with the name it stands under; a list's or an object's excessive length counts as one."""
    if isinstance(content, dict):
        if len(content) > MAX_KEYS:
            yield key or "its number of fields", MAX_NUMBER + len(content)
        for name, value in content.items():
            yield from _numbers(value, name)
    elif isinstance(content, list):
        if len(content) > MAX_ENTRIES:
            yield key, MAX_NUMBER + len(content)
        for value in content:
            yield from _numbers(value, "" if "layer" in key else key)
    elif isinstance(content, int) and not isinstance(content, bool):
        yield key, content
