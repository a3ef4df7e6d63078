"""What `sharding: fsdp` may be combined with, and which layers it gathers by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from app.methods.finetune import FinetuneParams
from workers.methods.finetune.arguments import deepspeed_config
from workers.methods.finetune.callbacks import CountingTrainer
from workers.methods.finetune.fully_sharded import fsdp_config

FSDP: dict[str, Any] = {"sharding": "fsdp", "processes": 2}

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Layer(torch.nn.Linear):
    """One of a model's layers."""


class Model(torch.nn.Sequential):
    """Says as transformers' models do which layers stay on one device, one kind of which it has not."""

    _no_split_modules = ("Layer", "Absent")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"deepspeed": "zero3"}, "sharding fsdp and deepspeed exclude each other"),
        ({"processes": 1}, "set processes or nodes to 2 or more"),
        ({"offload_optimizer": True}, "set offload_parameters in place of offload_optimizer"),
        ({"precision": "fp16"}, "bf16 or fp32"),
        ({"lora": {"four_bit": True}}, "no weights of 4 bits"),
        ({"sharding": "fsdp1"}, "'zero' or 'fsdp'"),
    ],
)
def test_what_fsdp_cannot_do_is_refused_with_the_way_out(params: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        FinetuneParams.model_validate({**FSDP, **params})


@pytest.mark.parametrize("params", [{"lora": {}}, {"processes": 1, "nodes": 2}, {"precision": "bf16"}])
def test_what_fsdp_can_do_is_taken(params: dict[str, Any]) -> None:
    taken = FinetuneParams.model_validate({**FSDP, **params})
    assert taken.divides_state
    assert not FinetuneParams(processes=2).divides_state


def test_offloading_under_fsdp_needs_no_deepspeed() -> None:
    params = FinetuneParams.model_validate({**FSDP, "offload_parameters": True})
    assert deepspeed_config(params) is None
    for device, offloads in ((CUDA, True), (CPU, False)):
        config = fsdp_config(params, Model(Layer(2, 2)), device)
        assert config is not None
        assert (config["version"], config["cpu_offload"]) == (2, offloads)


def test_layers_that_a_model_names_are_gathered_one_at_a_time() -> None:
    params = FinetuneParams.model_validate(FSDP)
    model = torch.nn.Sequential(Model(Layer(2, 2), Layer(2, 2)), torch.nn.Linear(2, 2))
    config = fsdp_config(params, model, CPU)
    assert config is not None
    assert config["transformer_layer_cls_to_wrap"] == ["Layer"]
    whole = fsdp_config(params, torch.nn.Linear(2, 2), CPU)
    assert whole is not None
    assert whole["auto_wrap_policy"] == "NO_WRAP"
    assert fsdp_config(FinetuneParams(), model, CPU) is None


def test_a_layer_whose_weights_are_tied_is_gathered_with_the_others() -> None:
    model = Model(Layer(2, 2), Layer(2, 2))
    tied = torch.nn.Linear(2, 2)
    tied.weight = next(model.parameters())
    config = fsdp_config(FinetuneParams.model_validate(FSDP), torch.nn.Sequential(model, tied), CPU)
    assert config is not None
    assert config["auto_wrap_policy"] == "NO_WRAP"


def test_every_rank_sees_the_folder_of_a_best_step_before_its_weights_are_written(tmp_path: Path) -> None:
    """Else a rank that is ahead loads the best checkpoint, waits for the one that saw none, and neither ends."""
    trainer = CountingTrainer.__new__(CountingTrainer)
    trainer.is_fsdp_enabled = True
    for _ in range(2):  # ranks of a node share the folder
        trainer.save_model(str(tmp_path / "trainer" / "checkpoint-3"))
    assert not list((tmp_path / "trainer" / "checkpoint-3").iterdir())
