"""A whole model that a stranger sent: its configuration asks for nothing but a model of a family that is served.

Knows `config.json` and how many numbers a model of it has; knows nothing of notes, archives or models at work.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from app.errors import ArchiveError, InvalidInputError

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
_LARGEST = 10_000_000
"""No whole number of a configuration is larger: sizes, token ids."""
_DEEPEST = 256
"""Most layers of one part."""
_LONGEST = 10_000
"""Most entries of a list."""
_ENCODERS = {"clip": "CLIPModel", "siglip": "SiglipModel"}


def check(folder: Path, kind: str, read: dict[str, Any]) -> None:
    """Raise ArchiveError or InvalidInputError unless the folder holds a whole model of a family that is served.

    `read` is every JSON file by its name. Blocks: the model is built without its numbers.
    """
    config = read.get("config.json")
    if not isinstance(config, dict):
        raise ArchiveError("The archive holds no readable config.json.")
    for name, content in read.items():
        if name not in ("tokenizer.json", "vocab.json", _INDEX, "vision.json"):
            _check_keys(name, content)
    architecture = _architecture(config, kind)
    for key, value in _numbers(config):
        layers = "layer" in key or "depth" in key
        if abs(value) > (_DEEPEST if layers else _LARGEST):
            raise InvalidInputError(f"config.json: {key[:100]} is larger than anything that is served.")
    held = _held(folder, read.get(_INDEX))
    if _wanted(folder, architecture) > 2 * held + 1_000_000:  # twice: weights that are tied lie there once
        raise InvalidInputError("config.json asks for a larger model than the weights beside it are of.")


def _architecture(config: dict[str, Any], kind: str) -> str:
    if kind == "vlm":
        from app.inference.vlms.loading import CLASSES  # the code of transformers' models takes seconds

        named = config.get("architectures")
        found = named[0] if isinstance(named, list) and named else None
        if not isinstance(found, str) or found not in CLASSES:
            raise InvalidInputError(
                f"config.json: whole models are accepted of these architectures: {', '.join(sorted(CLASSES))}."
            )
        return CLASSES[found][1]
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in _ENCODERS:
        raise InvalidInputError(
            f"config.json: whole encoders are accepted of these types: {', '.join(sorted(_ENCODERS))}."
        )
    return _ENCODERS[model_type]


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
    """Every whole number with the name it stands under; a list's length counts as one."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from _numbers(value, name)
    elif isinstance(content, list):
        if len(content) > _LONGEST:
            yield key, _LARGEST + len(content)
        for value in content:
            yield from _numbers(value, "" if "layer" in key else key)
    elif isinstance(content, int) and not isinstance(content, bool):
        yield key, content


def _held(folder: Path, index: Any) -> int:
    """How many numbers the weights beside the configuration are."""
    if index is None:
        files = ["model.safetensors"]
    else:
        shards = index.get("weight_map") if isinstance(index, dict) else None
        files = sorted({str(one) for one in shards.values()}) if isinstance(shards, dict) else [""]
    total = 0
    for name in files:
        if "/" in name or not name.endswith(".safetensors") or not (folder / name).is_file():
            raise ArchiveError("The archive does not hold the model's weights: model.safetensors.")
        with safe_open(folder / name, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - not a mapping
                total += torch.Size(tensors.get_slice(key).get_shape()).numel()
    return total


def _wanted(folder: Path, architecture: str) -> int:
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            model = getattr(transformers, architecture)(config)
    except Exception as error:  # whatever a library raises over a configuration that a stranger wrote
        raise InvalidInputError("config.json: no model can be built of it.", cause=str(error)) from None
    return sum(one.numel() for one in model.parameters())
