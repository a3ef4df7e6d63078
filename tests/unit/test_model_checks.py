"""Files of honest models pass the checks of uploads; what goes beyond their bounds is named."""

from __future__ import annotations

import base64
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
from safetensors.numpy import save_file

from app.errors import InvalidInputError
from app.families.lite import sentences
from app.inference.adapter_config import check_config, check_weights
from app.inference.chat_templates import MAX_VALUE_BYTES, check_template, render
from app.inference.errors import ChatTemplateError, ModelUnavailableError
from app.inference.sources import CHECKPOINTS
from app.models.model_checks.processor import (
    check_added_tokens,
    check_generation,
    check_processor,
    check_tokenizer_config,
)
from app.models.model_checks.tensors import check_tensors, count_numbers
from app.models.model_checks.tokenizer import check_tokenizer
from app.storage.errors import ArchiveError
from app.storage.files import is_key

TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "A ball."}]},
]
LLAVA_15 = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' '}}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
SMOLVLM = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


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
    ("template", "written"),
    [
        (LLAVA_15, "USER: <image>\nWhat is it? ASSISTANT: A ball. ASSISTANT:"),
        (
            SMOLVLM,
            "<|im_start|>User:<image>What is it?<end_of_utterance>\n"
            "Assistant: A ball.<end_of_utterance>\nAssistant:",
        ),
    ],
)
def test_published_templates_are_rendered(template: str, written: str) -> None:
    check_template(template)
    assert render(template, TURNS, {}, answering=True, name="it") == written


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% for a in range(10 ** 9) %}{% endfor %}",
        "{{ 'a' * 10 ** 9 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = [n.x, n.x]|join %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x.replace('a', 'aa') %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x|replace('a', 'aa') %}{% endfor %}",
        "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = {'a': n.x} %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
        "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}"
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = twice(n.x) %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x|tojson %}{% endfor %}",
        "{% macro a() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages | pprint }}",
        "{{ messages }}",
        "{{ " + "(" * 5_000 + ")" * 5_000 + " }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_hostile_template_is_ended(template: str) -> None:
    with pytest.raises(ChatTemplateError, match="chat template of 'it'"):
        render(template, TURNS, {}, answering=True, name="it")


DOUBLED = (
    "{% set n = namespace(x='😀中 ', l=[]) %}{% for i in range(14) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
)
HOARDED = "{% set n.l = n.l + [VALUE] %}"


@pytest.mark.parametrize(
    "kept",
    [
        "{% for i in range(9000) %}" + HOARDED.replace("VALUE", "n.x ~ i") + "{% endfor %}",
        "{% for i in range(9000) %}" + HOARDED.replace("VALUE", "n.x[i:]") + "{% endfor %}",
        "{% for i in range(9000) %}" + HOARDED.replace("VALUE", "n.x|upper") + "{% endfor %}",
        "{% for i in range(9000) %}" + HOARDED.replace("VALUE", "n.x.strip()") + "{% endfor %}",
        "{% for i in range(9000) %}"
        + HOARDED.replace("VALUE", "n.x.replace('a', 'b') ~ ''")
        + "{% endfor %}",
        "{% for i in range(9000) %}{% set t %}{{ n.x }}{{ i }}{% endset %}"
        + HOARDED.replace("VALUE", "t")
        + "{% endfor %}",
        "{% for i in range(13) %}{% set n.l = (n.l or [n.x]) + (n.l or [n.x]) %}{% endfor %}{{ n.l|sort|length }}",
        "{% for i in range(9000) %}{% set n.l = namespace(p=n.l, x=n.x.split(' ')) %}{% endfor %}",
        "{{ n.x|list|length }}",
        "{% for i in range(20) %}{% set n.x = n.x|tojson %}{% endfor %}",
    ],
)
def test_a_template_that_keeps_many_values_is_ended_while_they_are_few(kept: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ChatTemplateError, match=r"more memory|too long") as kept_error:
            render(DOUBLED + kept, TURNS, {}, answering=True, name="it")
        assert tracemalloc.get_traced_memory()[1] < MAX_VALUE_BYTES + (16 << 20)
        # nothing of them is left, though the error still is
        assert tracemalloc.get_traced_memory()[0] < 4 << 20
        assert kept_error.value.__context__ is None
    finally:
        tracemalloc.stop()


def test_a_template_that_appends_every_turn_renders_the_longest_conversation() -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "中" * 1_990 + f"😀{turn}"}]}
        for turn in range(32)
    ]
    template = (
        "{% set n = namespace(x='') %}{% for m in messages %}{% set n.x = n.x ~ m.role ~ ': ' ~ m.content[0].text %}"
        "{% endfor %}{{ n.x }}"
    )
    written = render(template, turns, {}, answering=True, name="it")
    assert written.count("user: ") == 32
    assert written.endswith("31")


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["q_proj", "model.layers.0.self_attn.k_proj"], "rank_pattern": {"q_proj": 4}},
        {"target_modules": "all-linear", "modules_to_save": ["multi_modal_projector"]},
        {"target_modules": ["q_proj"], "layers_pattern": "layers", "layers_to_transform": 3},
        {"target_modules": ["q_proj"], "exclude_modules": None, "alpha_pattern": {}},
        {"r": 4_096, "lora_alpha": 8_192},
    ],
)
def test_plain_names_of_layers_pass(config: dict[str, Any]) -> None:
    check_config({"peft_type": "LORA", **config}, "it")


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": "(a+)+$"},
        {"target_modules": ["(a+)+$"]},
        {"target_modules": [["q_proj"]]},
        {"exclude_modules": ".*"},
        {"modules_to_save": "projector"},
        {"rank_pattern": {"(a+)+$": 2}},
        {"alpha_pattern": {"q_proj": "2"}},
        {"layers_pattern": "(a+)+"},
        {"layers_to_transform": "0"},
        {"r": 4_097},
        {"rank_pattern": {"q_proj": 4_097}},
        {"lora_alpha": 8_193},
        {"r": 10**9},
        {"r": True},
        {"r": 0},
        {"r": 2.5},
        {"lora_alpha": True},
        {"lora_alpha": float("nan")},
        {"rank_pattern": {"q_proj": 0}},
        {"target_modules": []},
        {"layers_to_transform": -(10**30)},
        {"layers_to_transform": [True]},
        {"layers_to_transform": [257]},
        {"layers_pattern": "layers"},
        {"target_modules": "all-linear", "layers_to_transform": 3},
        {"fan_in_fan_out": "x"},
        {"use_dora": 1},
        {"peft_type": {"a": 1}},
        {"peft_type": "IA3"},
        {"megatron_config": {"a": 1}},
        {"layer_replication": [[0, 10**6]]},
        {"target_parameters": [".*"]},
        {"trainable_token_indices": [10**12]},
        {"runtime_config": {"ephemeral_gpu_offload": True}},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": [1]},
        {"bias": "all"},
        {"made_up": 1},
    ],
)
def test_what_an_adapter_may_not_say_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ModelUnavailableError, match="'it'"):
        check_config({"peft_type": "LORA", **config}, "it")


def test_the_defaults_of_peft_are_served() -> None:
    config = peft.LoraConfig(target_modules=["q_proj"]).to_dict()  # type: ignore[no-untyped-call]
    check_config({**config, "peft_type": "LORA", "target_modules": ["q_proj"]}, "it")


A_OF_4 = {"base_model.model.q_proj.lora_A.weight": [4, 64]}


@pytest.mark.parametrize(
    ("config", "more", "words"),
    [
        ({"r": 4}, {}, None),
        ({"r": 4, "modules_to_save": ["head"]}, {"base_model.model.head.weight": [2, 2]}, None),
        ({"r": 2, "rank_pattern": {"q_proj": 4}}, {}, None),
        ({"r": 4_096}, {}, "rank 4096"),
        ({"r": 2}, {}, "rank 2"),
        ({}, {}, "rank 8"),
        ({"r": 4}, {"x.lora_A.weight": []}, "rank 4"),
        ({"r": 4, "modules_to_save": ["q_proj"]}, {}, "no weights of it"),
    ],
)
def test_weights_go_with_the_configuration(
    config: dict[str, Any], more: dict[str, list[int]], words: str | None
) -> None:
    if words is None:
        check_weights(config, A_OF_4 | more, "it")
    else:
        with pytest.raises(ModelUnavailableError, match=words):
            check_weights(config, A_OF_4 | more, "it")


@pytest.mark.parametrize(
    "header", [b"[]", b"[[1]]", b"1", b"null", b'"a"', b"{", b'{"a": 1}', b'{"a": {"dtype": "F32"}}']
)
def test_a_header_that_describes_no_tensors_is_refused(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ArchiveError, match="no whole safetensors file"):
        check_tensors(tmp_path / "x.safetensors")


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_found(tmp_path: Path, kind: Any, bad: float) -> None:
    path = tmp_path / "a.safetensors"
    numbers = np.linspace(-6e4, 6e4, 5_000_000, dtype=kind)
    save_file({"first": np.zeros(3, np.int64), "a": numbers}, path)
    check_tensors(path)
    numbers[-1] = bad
    save_file({"first": np.zeros(3, np.int64), "a": numbers}, path)
    with pytest.raises(InvalidInputError, match="'a' holds numbers that are not finite"):
        check_tensors(path)


@pytest.mark.parametrize(
    ("name", "is_good"),
    [("a/b-1.json", True), ("a b", False), (".a", False), ("ä", False), ("a/../b", False)],
)
def test_names_follow_the_rule_of_the_store(name: str, is_good: bool) -> None:
    assert is_key(name) is is_good
