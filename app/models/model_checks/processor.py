"""Configurations of uploaded processors, tokenizers and generation: sizes, counts and strings within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.errors import InvalidInputError
from app.models.model_checks import tokenizer

GENERATION, TOKENIZER = "generation_config.json", "tokenizer_config.json"
ADDED_TOKENS, SPECIAL_TOKENS = "added_tokens.json", "special_tokens_map.json"
PROCESSORS = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")

MAX_IMAGE_SIDE = 4_096
"""Pixels: models see images of 224 to 2,048 a side."""
MIN_IMAGE_SIDE = 16
MAX_SIDE_RATIO = 32
"""Of the largest size to the smallest: an image is cut into up to that many tiles a side."""
MAX_PATCHES_A_SIDE = 128
MAX_IMAGE_TOKENS = 4_096
MAX_STRING = 200
MAX_NEW_TOKENS = 4_096
MAX_STOP_TOKENS = 64
_MAX_ENTRIES = 64
_ID_CHARS = 9
_SIDES = frozenset({"height", "width", "longest_edge", "shortest_edge", "image_size"})
_FILE_KEYS = frozenset({"tokenizer_file", "vocab_file", "merges_file", "spm_file", "vocab"})

_SPECIALS = frozenset({"additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens"})
"""Keys of tokenizer_config.json that hold tokens, in a list or by name."""
_IDS = frozenset({"bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "sep_token_id"})
_RANGES: dict[str, tuple[float, float]] = {
    "max_new_tokens": (1, MAX_NEW_TOKENS),
    "max_length": (1, 1_000_000),
    "min_length": (0, MAX_NEW_TOKENS),
    "min_new_tokens": (0, MAX_NEW_TOKENS),
    "temperature": (0, 100),
    "top_p": (0, 1),
    "top_k": (0, 1_000_000),
    "repetition_penalty": (0.01, 100),
    "length_penalty": (-100, 100),
    "num_beams": (1, 1),
    "num_return_sequences": (1, 1),
    "num_beam_groups": (1, 1),
    "typical_p": (0.01, 1),
    "encoder_repetition_penalty": (0.01, 100),
    "guidance_scale": (1, 1),
}
_FREE = frozenset(
    {
        *("transformers_version", "_from_model_config", "do_sample", "use_cache", "renormalize_logits"),
        *("early_stopping", "remove_invalid_values"),
    }
)
_DEFAULTS: tuple[Any, ...] = (None, False, 0, [], {}, "")
"""What turns nothing on, whatever the key."""


def check_processor(name: str, read: Any) -> None:
    """Raise InvalidInputError where an image would become too many numbers or tokens."""
    if not isinstance(read, dict):
        raise InvalidInputError(f"{name}: it is no object.")
    sides: list[float] = []
    patches: list[float] = []
    for key, value in _leaves(read, name):
        if isinstance(value, str) and len(value) > MAX_STRING:
            raise InvalidInputError(f"{name}: {key[:100]} is longer than {MAX_STRING} characters.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if key in _SIDES:
            sides.append(value)
        elif "patch_size" in key:
            patches.append(value)
        most = MAX_IMAGE_SIDE if key in _SIDES else MAX_IMAGE_TOKENS
        if abs(value) > most:
            raise InvalidInputError(f"{name}: {key[:100]} is larger than {most}.")
    if sides and (min(sides) < MIN_IMAGE_SIDE or max(sides) > MAX_SIDE_RATIO * min(sides)):
        raise InvalidInputError(
            f"{name}: sizes of images are at least {MIN_IMAGE_SIDE} and within a factor of {MAX_SIDE_RATIO}."
        )
    if patches and sides and max(sides) > MAX_PATCHES_A_SIDE * min(patches):
        raise InvalidInputError(f"{name}: an image has more than {MAX_PATCHES_A_SIDE} patches a side.")


def check_tokenizer_config(name: str, read: Any) -> None:
    """Raise InvalidInputError for strings that are too long and for files that it names itself."""
    if not isinstance(read, dict):
        raise InvalidInputError(f"{name}: it is no object.")
    for key, value in read.items():
        if key in _FILE_KEYS and value is not None:
            raise InvalidInputError(f"{name}: '{key}' is not accepted: files go by their usual names.")
        if (
            key.endswith("_token")
            and len(str(value.get("content") if isinstance(value, dict) else value)) > 512
        ):
            raise InvalidInputError(f"{name}: '{key[:100]}' is too long.")


def check_added_tokens(files: dict[str, Any]) -> None:
    """Raise InvalidInputError where the tokens that the files beside tokenizer.json add, `files` by name, are too many,
    too long or out of range.
    """
    count = 0
    for name in (TOKENIZER, ADDED_TOKENS, SPECIAL_TOKENS):
        tokens = list(_list_added_tokens(name, files[name])) if name in files else []
        count += len(tokens)
        tokenizer.check_added(tokens, name)
    if count > tokenizer.MAX_ADDED_TOKENS:
        raise InvalidInputError(f"{TOKENIZER}: more than {tokenizer.MAX_ADDED_TOKENS} tokens are added.")


def _list_added_tokens(name: str, read: Any) -> Iterator[dict[str, Any]]:
    """Each as tokenizer.json has them; one that gets its id by its text has the id 0 here."""
    if not isinstance(read, dict):
        raise InvalidInputError(f"{name}: it is no object.")
    if name == ADDED_TOKENS:
        yield from ({"content": content, "id": number} for content, number in read.items())
    elif name == SPECIAL_TOKENS:
        yield from _special_tokens(read)
    else:
        decoder = read.get("added_tokens_decoder") or {}
        if not isinstance(decoder, dict):
            raise InvalidInputError(f"{name}: added_tokens_decoder is no object.")
        for key, token in decoder.items():
            number = int(key) if key.isdecimal() and len(key) < _ID_CHARS else None
            yield {"content": token.get("content") if isinstance(token, dict) else None, "id": number}
        yield from _special_tokens({key: read.get(key) for key in _SPECIALS})


def _special_tokens(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list) or (isinstance(value, dict) and "content" not in value):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _special_tokens(inner)
    elif value is not None:
        yield {"content": value["content"] if isinstance(value, dict) else value, "id": 0}


def check_generation(name: str, read: Any) -> None:
    """Raise InvalidInputError for what would make an answer take many times as long, or is not served."""
    if not isinstance(read, dict):
        raise InvalidInputError(f"{name}: it is no object.")
    for key, value in read.items():
        if key in _IDS:
            ids = value if isinstance(value, list) else [value]
            is_good = len(ids) <= MAX_STOP_TOKENS and all(
                number is None or isinstance(number, int) for number in ids
            )
        elif key in _RANGES and value is not None:
            low, high = _RANGES[key]
            is_good = isinstance(value, int | float) and value is not True and low <= value <= high
        else:
            is_good = value in _DEFAULTS or (key in _FREE and len(str(value)) < MAX_STRING)
        if not is_good:
            raise InvalidInputError(f"{name}: {key[:100]} has a value that is not served.")


def _leaves(content: Any, name: str, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict | list):
        if len(content) > _MAX_ENTRIES:
            raise InvalidInputError(f"{name}: {key[:100] or 'it'} has more than {_MAX_ENTRIES} entries.")
        pairs = content.items() if isinstance(content, dict) else ((key, value) for value in content)
        for inner, value in pairs:
            yield from _leaves(value, name, inner)
    else:
        yield key, content
