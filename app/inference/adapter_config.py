"""Which layers a LoRA adapter's configuration names: plain names, never a pattern.

peft compiles a text in `target_modules` and the keys of `rank_pattern` as regular expressions, and a hostile one
stops the process for good. A list of names says the same: peft compares the ends of paths with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from app.inference.errors import ModelUnavailableError

MAX_NAMES = 10_000
MAX_RANK = 4_096
MAX_ALPHA = 2 * MAX_RANK
"""Commonly the rank, or twice the rank."""
_MAX_NUMBERS = {"r": MAX_RANK, "rank_pattern": MAX_RANK, "lora_alpha": MAX_ALPHA, "alpha_pattern": MAX_ALPHA}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_LISTS = ("target_modules", "exclude_modules", "modules_to_save", "layers_pattern")
_MAPPINGS = ("rank_pattern", "alpha_pattern")
_WORDS = {"target_modules": "all-linear"}
"""What peft knows beside names."""


def check_names(config: dict[str, Any], name: str) -> None:
    """Raise ModelUnavailableError unless every field that names layers of adapter `name` holds plain names."""
    for field in _LISTS:
        value = config.get(field)
        if value is None or (field in _WORDS and value == _WORDS[field]):
            continue
        if field == "layers_pattern" and isinstance(value, str):
            value = [value] if value else []
        if not isinstance(value, list) or not _are_names(value):
            raise _refuse(field, name)
    for field in _MAPPINGS:
        value = config.get(field) or {}
        numbers = value.values() if isinstance(value, dict) else [None]
        if (
            not isinstance(value, dict)
            or not _are_names(value)
            or not all(_is_number(number, most=_MAX_NUMBERS[field]) for number in numbers)
        ):
            raise _refuse(field, name)
    layers = config.get("layers_to_transform")
    listed = layers if isinstance(layers, list) else [] if layers is None else [layers]
    if len(listed) > MAX_NAMES or not all(isinstance(layer, int) for layer in listed):
        raise ModelUnavailableError(f"The adapter '{name}' has `layers_to_transform` that are no numbers.")
    for field, word in (("r", "rank"), ("lora_alpha", "lora_alpha")):
        value = config.get(field, 8)
        if not isinstance(value, int | float):
            raise ModelUnavailableError(f"The adapter_config.json of '{name}' is damaged.")
        if not _is_number(value, most=_MAX_NUMBERS[field]):
            raise ModelUnavailableError(
                f"The adapter '{name}' has a {word} that is not between 0 and {_MAX_NUMBERS[field]}."
            )


def _are_names(names: Iterable[Any]) -> bool:
    listed = list(names)
    return len(listed) <= MAX_NAMES and all(
        isinstance(name, str) and _NAME.fullmatch(name) for name in listed
    )


def _is_number(value: Any, *, most: int) -> bool:
    return isinstance(value, int | float) and 0 <= value <= most


def _refuse(field: str, name: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"The adapter '{name}' has `{field}` that is no list of plain names of layers: patterns are not served."
    )
