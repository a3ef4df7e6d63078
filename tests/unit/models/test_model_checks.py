"""Files of honest models pass the checks of uploads; what goes beyond their bounds is named."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import InvalidInputError
from app.families.lite import sentences
from app.inference.sources import CHECKPOINTS
from app.models.model_checks.processor import (
    check_added_tokens,
    check_generation,
    check_processor,
    check_tokenizer_config,
)
from app.models.model_checks.tensors import check_tensors, count_numbers
from app.models.model_checks.tokenizer import check_tokenizer
from app.storage.files import is_key


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize(
    "folder", [*CHECKPOINTS.iterdir(), sentences.folder()], ids=lambda folder: folder.name
)
def test_the_files_of_honest_models_pass(folder: Path) -> None:
    if (folder / "tokenizer.json").exists():  # not beside a model that reads images only
        check_tokenizer(read(folder, "tokenizer.json"))
    if (folder / "tokenizer_config.json").exists():
        check_tokenizer_config("tokenizer_config.json", read(folder, "tokenizer_config.json"))
    check_added_tokens({path.name: json.loads(path.read_text()) for path in folder.glob("*token*.json")})
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).exists():
            check_processor(name, read(folder, name))
    if (folder / "generation_config.json").exists():
        check_generation("generation_config.json", read(folder, "generation_config.json"))
    for path in folder.glob("*.safetensors"):
        check_tensors(path)
        assert count_numbers(path) > (1_000 if path.name == "domain.safetensors" else 100_000)


LLAMA_STEPS = {
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    },
    "decoder": {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    },
}


def test_a_llama_tokenizer_passes() -> None:
    check_tokenizer({**read(CHECKPOINTS / "llava-shapes", "tokenizer.json"), **LLAMA_STEPS})


@pytest.mark.parametrize(
    ("pattern", "is_good"),
    [
        (r"[!\"\#\$\%\&'\(\)\*\+,\-\./:;<=>\?@\[\\\]\^_`\{\|\}\~]", True),
        (r" {2,}", True),
        (r"[^\p{L}]+", True),
        (r"(a|a)*b", False),
        (r"[a-z]*[a-z]*b", False),
        (r"[a[b]]", False),
        (r"[a-z&&[b]]", False),
        (r"a{9999}", False),
    ],
)
def test_patterns_of_tokenizers_are_known_or_one_set_of_characters(pattern: str, is_good: bool) -> None:
    step = {"type": "Replace", "pattern": {"Regex": pattern}, "content": ""}
    changed = {**read(CHECKPOINTS / "llava-shapes", "tokenizer.json"), "normalizer": step}
    if is_good:
        check_tokenizer(changed)
    else:
        with pytest.raises(InvalidInputError, match="a pattern"):
            check_tokenizer(changed)


def charsmap(longest: int) -> dict[str, str]:
    """A step with SentencePiece's table of characters, whose longest text has so many bytes."""
    table = (4).to_bytes(4, "little") + bytes(4) + b"a" * longest + b"\0"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([charsmap(33)], None),
        ([charsmap(33), {"type": "Prepend", "prepend": "▁"}], None),
        ([charsmap(1), charsmap(1)], "more than one precompiled_charsmap"),
        ([charsmap(64)], "16 times longer"),
        ([charsmap(33), {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}], "16 times longer"),
    ],
)
def test_what_tables_of_characters_add_to_a_text_is_counted(
    steps: list[dict[str, Any]], words: str | None
) -> None:
    changed = {
        **read(CHECKPOINTS / "llava-shapes", "tokenizer.json"),
        "normalizer": {"type": "Sequence", "normalizers": steps},
    }
    if words is None:
        check_tokenizer(changed)
    else:
        with pytest.raises(InvalidInputError, match=words):
            check_tokenizer(changed)


@pytest.mark.parametrize(
    ("changes", "is_good"),
    [
        ({"do_sample": True, "use_cache": True, "early_stopping": True}, True),
        ({"num_beams": 1, "typical_p": 1.0, "guidance_scale": None, "output_scores": False}, True),
        ({"output_scores": True}, False),
        ({"return_dict_in_generate": True}, False),
        ({"num_assistant_tokens": 1}, False),
        ({"max_new_tokens": True}, False),
    ],
)
def test_no_flag_of_generation_is_turned_on_by_an_upload(changes: dict[str, Any], is_good: bool) -> None:
    if is_good:
        check_generation("generation_config.json", changes)
    else:
        with pytest.raises(InvalidInputError, match=rf"{next(iter(changes))} has a value"):
            check_generation("generation_config.json", changes)


def added(count: int, text: str = "a") -> dict[str, Any]:
    return {f"{text}{number}": number for number in range(count)}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"added_tokens.json": added(100), "special_tokens_map.json": {"eos_token": "a"}}, None),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"5": {"content": "a"}}}}, None),
        ({"tokenizer_config.json": {"extra_special_tokens": {"image_token": "<image>"}}}, None),
        ({"added_tokens.json": added(10_001)}, "more than 10000"),
        ({"added_tokens.json": {"a": 10**12}}, "out of range"),
        ({"added_tokens.json": {"a" * 513: 1}}, "1 to 512"),
        ({"special_tokens_map.json": {"eos_token": {"content": "a" * 513}}}, "1 to 512"),
        ({"special_tokens_map.json": {"additional_special_tokens": ["a" * 513]}}, "1 to 512"),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"9" * 12: {"content": "a"}}}}, "out of range"),
        ({"tokenizer_config.json": {"extra_special_tokens": {"a": ["b" * 513]}}}, "1 to 512"),
        (
            {
                "added_tokens.json": added(6_000),
                "special_tokens_map.json": {"additional_special_tokens": [*added(6_000)]},
            },
            "more than 10000 tokens",
        ),
    ],
)
def test_tokens_that_other_files_add_are_bounded(files: dict[str, Any], words: str | None) -> None:
    if words is None:
        check_added_tokens(files)
    else:
        with pytest.raises(InvalidInputError, match=words):
            check_added_tokens(files)


@pytest.mark.parametrize(
    ("name", "is_good"),
    [("a/b-1.json", True), ("a b", False), (".a", False), ("ä", False), ("a/../b", False)],
)
def test_names_follow_the_rule_of_the_store(name: str, is_good: bool) -> None:
    assert is_key(name) is is_good
