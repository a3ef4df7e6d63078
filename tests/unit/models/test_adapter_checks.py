"""What an uploaded adapter's configuration and weights may say."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from app.errors import InvalidInputError
from app.inference.adapter_config import check_config, check_weights
from app.inference.errors import ModelUnavailableError
from app.models.model_checks.tensors import check_tensors
from app.storage.errors import ArchiveError


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
    import peft  # two seconds that whoever collects these tests does without

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
