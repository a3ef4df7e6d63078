"""Which GPU a training process takes, and what it says where there are too few; no GPU is here, its count is faked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from app.inference import device
from app.jobs.errors import NotTrainableError
from app.methods.finetune import FinetuneParams
from app.settings import Settings
from workers.methods.finetune import arguments
from workers.methods.finetune.arguments import forward_dtype, rank_device
from workers.worker import launching


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The devices that torch was told to take; the machine has two GPUs."""
    found: list[Any] = []
    monkeypatch.setattr(device, "cuda_devices", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return found


def ranks(monkeypatch: pytest.MonkeyPatch, local: int, count: int) -> None:
    monkeypatch.setenv("LOCAL_RANK", str(local))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(count))


def test_each_rank_has_a_gpu_of_its_own(
    taken: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, device="cuda")
    assert rank_device(settings) == torch.device("cuda:0")
    ranks(monkeypatch, 1, 2)
    assert rank_device(settings) == torch.device("cuda:1")
    assert taken == [torch.device("cuda:1")]


def test_more_ranks_than_gpus_are_refused_in_a_sentence(
    taken: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ranks(monkeypatch, 0, 3)
    with pytest.raises(
        NotTrainableError, match=r"3 processes were asked for, and the worker has 2 GPUs: .*to 2"
    ):
        rank_device(Settings(data_dir=tmp_path, device="auto"))
    assert not taken
    assert rank_device(Settings(data_dir=tmp_path, device="cpu")) == torch.device("cpu")


@pytest.mark.usefixtures("taken")
def test_a_single_process_sees_its_own_gpu_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def seen(name: str, *, alone: bool = True) -> tuple[str | None, str | None]:
        found = launching._environment(Settings(data_dir=tmp_path, device=name), alone=alone)
        return found.get("CUDA_VISIBLE_DEVICES"), found.get("VISION_DEVICE")

    assert seen("cuda:1") == ("1", "cuda:0")
    assert seen("auto") == ("0", "cuda:0")
    assert seen("cpu") == (None, "cpu")
    assert seen("cuda", alone=False) == (None, "cuda")  # each rank takes its own
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert seen("cuda:1") == ("GPU-b", "cuda:0")


def test_the_trainer_keeps_to_one_gpu_where_it_sees_several(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class SeesTwo:
        n_gpu = 2

        def __init__(self, **given: Any) -> None:
            self.given = given

    monkeypatch.setattr(arguments.transformers, "TrainingArguments", SeesTwo)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    batches = arguments.Batches(2, 1, "")
    made = arguments.training_arguments(
        FinetuneParams(),
        batches,
        folder=tmp_path,
        examples=4,
        evaluates=False,
        seed=0,
        device=torch.device("cuda:0"),
        metric="eval_loss",
        log=print,
    )
    assert made._n_gpu == 1
    assert {name: made.given[name] for name in ("use_cpu", "bf16", "fp16", "dataloader_pin_memory")} == {
        "use_cpu": False,
        "bf16": True,
        "fp16": False,
        "dataloader_pin_memory": True,
    }


def test_number_formats_are_those_that_the_device_trains_in(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda:0")
    assert forward_dtype(FinetuneParams(), cpu) == torch.float32
    assert forward_dtype(FinetuneParams(precision="bf16"), cpu) == torch.bfloat16
    with pytest.raises(NotTrainableError, match="CUDA devices only"):
        forward_dtype(FinetuneParams(precision="fp16"), cpu)
    for capability, dtype in ((9, torch.bfloat16), (7, torch.float32)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index, major=capability: (major, 0))
        assert forward_dtype(FinetuneParams(), cuda) == dtype
        assert forward_dtype(FinetuneParams(precision="fp16"), cuda) == torch.float16
