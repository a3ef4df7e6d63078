"""What a LoRA adapter's configuration may say, decided from its JSON and the shapes of its weights alone.

Only what is known to leave the base unchanged is accepted: LoRA on layers, and whole modules trained beside it. In
particular nothing that would import a module the file names (`megatron_config`). Layers are named plainly, never by a
pattern: peft compiles a text in `target_modules` and the keys of `rank_pattern` as regular expressions, and a hostile
one stops the process for good. A list of names says the same: peft compares the ends of paths with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.inference.errors import ModelUnavailableError

MAX_NAMES = 10_000
MAX_RANK = 4_096
MAX_LAYERS = 256
"""More than the deepest published models have."""
SHAPE = (
    *("r", "lora_alpha", "target_modules", "exclude_modules", "fan_in_fan_out", "use_rslora", "use_dora"),
    *(
        "modules_to_save",
        "layers_to_transform",
        "layers_pattern",
        "rank_pattern",
        "alpha_pattern",
        "lora_bias",
    ),
)
"""What decides how an adapter lies over its base; the rest of the file must be at its default."""
_WITHOUT_EFFECT = {
    *("peft_type", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping"),
    *("task_type", "lora_dropout", "megatron_core", "loftq_config", "eva_config", "corda_config"),
    *("lora_ga_config", "ensure_weight_tying", "qalora_group_size"),
}
"""Of interest to training alone, or unread while what they belong to is off."""
_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    # `pissa` and its like subtract from the base's own weights; these leave them as they are
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
}
"""The values that are served beside what is empty or off, the default of every other field."""
_BOOLEANS = ("fan_in_fan_out", "use_rslora", "use_dora", "lora_bias")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_LISTS = ("target_modules", "exclude_modules", "modules_to_save", "layers_pattern")
_WORDS = {"target_modules": "all-linear"}
"""What peft knows beside names."""


def check_config(config: Any, name: str) -> None:
    """Raise ModelUnavailableError in one sentence unless the configuration of adapter `name` is served."""
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if not isinstance(kind, str) or kind.upper() != "LORA":
        raise ModelUnavailableError(
            f"The adapter '{name}' is not a LoRA adapter, the only kind that is served."
        )
    _check_names(config, name)
    _check_numbers(config, name)
    for field, value in config.items():
        if field in SHAPE or field in _WITHOUT_EFFECT or not value:
            continue
        if value not in _DEFAULTS.get(field, ()):
            raise ModelUnavailableError(f"The adapter '{name}' uses '{field[:100]}', which is not served.")


def check_weights(config: dict[str, Any], shapes: Mapping[str, Sequence[int]], name: str) -> None:
    """Raise ModelUnavailableError unless weights of these shapes go with a checked configuration.

    Args:
        shapes: Of every tensor of the adapter's weights, by its name there.
    """
    ranks = {config.get("r", 8), *(config.get("rank_pattern") or {}).values()}
    rows = {shape[0] if shape else 0 for key, shape in shapes.items() if key.endswith("lora_A.weight")}
    if max(ranks) > max(rows, default=0) or not rows <= ranks:
        raise ModelUnavailableError(f"The weights of the adapter '{name}' are not of its rank {max(ranks)}.")
    whole = [f".{key}" for key in shapes if "lora_" not in key]
    for module in config.get("modules_to_save") or []:
        if not any(f".{module}." in key for key in whole):
            raise ModelUnavailableError(
                f"The adapter '{name}' has '{module}' in `modules_to_save` and no weights of it."
            )


def _check_names(config: dict[str, Any], name: str) -> None:
    for field in _LISTS:
        value = config.get(field)
        if value is None or (field in _WORDS and value == _WORDS[field]):
            continue
        if field == "layers_pattern" and isinstance(value, str):
            value = [value] if value else []
        if not isinstance(value, list) or not _are_names(value):
            raise _refuse(field, name)
    if config.get("target_modules") == []:
        raise ModelUnavailableError(f"The adapter '{name}' has no layers in `target_modules`.")
    layers = config.get("layers_to_transform")
    listed = layers if isinstance(layers, list) else [] if layers is None else [layers]
    if not all(_is_whole(layer, 0, MAX_LAYERS) for layer in listed):
        raise ModelUnavailableError(
            f"The adapter '{name}' has `layers_to_transform` that are no numbers from 0 to {MAX_LAYERS}."
        )
    if config.get("layers_pattern") and layers is None:
        raise ModelUnavailableError(
            f"The adapter '{name}' has a `layers_pattern` without `layers_to_transform`."
        )
    if layers is not None and isinstance(config.get("target_modules"), str):
        raise ModelUnavailableError(
            f"The adapter '{name}' has `layers_to_transform`, which needs a list of `target_modules`."
        )


def _check_numbers(config: dict[str, Any], name: str) -> None:
    for field, is_good in (("rank_pattern", _is_rank), ("alpha_pattern", _is_scale)):
        value = config.get(field) or {}
        if not isinstance(value, dict) or not _are_names(value):
            raise _refuse(field, name)
        if not all(map(is_good, value.values())):
            raise ModelUnavailableError(f"The adapter '{name}' has `{field}` with numbers out of range.")
    for field in ("r", "lora_alpha"):
        value = config.get(field, 8)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ModelUnavailableError(f"The adapter_config.json of '{name}' is damaged: {field}.")
    if not _is_rank(config.get("r", 8)):
        raise ModelUnavailableError(f"The adapter '{name}' has a rank that is not from 1 to {MAX_RANK}.")
    if not _is_scale(config.get("lora_alpha", 8)):
        raise ModelUnavailableError(f"The adapter '{name}' has a `lora_alpha` out of range.")
    for field in _BOOLEANS:
        if not isinstance(config.get(field), bool | None):
            raise ModelUnavailableError(f"The adapter '{name}' has `{field}` that is neither true nor false.")


def _are_names(names: Iterable[Any]) -> bool:
    listed = list(names)
    return len(listed) <= MAX_NAMES and all(
        isinstance(layer, str) and _NAME.fullmatch(layer) for layer in listed
    )


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_rank(value: Any) -> bool:
    return _is_whole(value, 1, MAX_RANK)


def _is_scale(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 2 * MAX_RANK


def _refuse(field: str, name: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"The adapter '{name}' has `{field}` that is no list of plain names of layers: patterns are not served."
    )
