"""How many examples a training step takes: tried, halved where memory runs out, refused where nothing fits."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch

from app.jobs.errors import NotTrainableError
from app.methods.finetune import FinetuneParams
from workers.methods.finetune.arguments import Batches
from workers.methods.finetune.fitting import fitting_batches, state_bytes

MIB = 1 << 20
EACH = 40 * MIB
"""What the step below takes for an example."""


def fitted(room_mib: int, state_mib: int = 0, each: int = EACH, **params: Any) -> tuple[Batches, list[int]]:
    tried = []
    gc.collect()

    def step(size: int) -> None:
        tried.append(size)
        torch.ones(size * each // 4)

    found = fitting_batches(
        FinetuneParams(**params),
        step,
        device=torch.device("cpu"),
        budget_bytes=room_mib * MIB * 5 // 4,
        state_bytes=state_mib * MIB,
    )
    return found, tried


def test_sizes_are_halved_until_one_fits_and_the_reason_is_told() -> None:
    found, tried = fitted(500)
    assert tried == [32, 16, 8]
    assert (found.size, found.accumulation) == (8, 4)
    assert "of 500 MiB" in found.reason
    assert "the largest that fitted a dry run" in found.reason


@pytest.mark.slow
def test_what_does_not_fit_says_what_would() -> None:
    with pytest.raises(NotTrainableError, match=r"Not even one example.*gradient_checkpointing.*LoRA"):
        # memory runs out: what was taken cannot be told where a process of many tests gives some back meanwhile
        fitted(4, each=4 * EACH)
    with pytest.raises(NotTrainableError, match=r"A batch of 32 does not fit.*auto"):
        fitted(400, batch_size=32)
    with pytest.raises(NotTrainableError, match=r"Training needs 500 MiB.*LoRA.*offload_optimizer"):
        fitted(400, state_mib=500)


def test_ranks_share_the_optimisers_state_where_it_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    module = torch.nn.Linear(99, 10)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert state_bytes(module, FinetuneParams(), cpu) == 12_000
    zero = FinetuneParams(deepspeed="zero2")
    assert state_bytes(module, zero, cuda) == 3_000
    assert state_bytes(module, zero.model_copy(update={"offload_optimizer": True}), cuda) == 1_000
    fsdp = FinetuneParams(sharding="fsdp", processes=4)
    assert state_bytes(module, fsdp, cuda) == 3_000
    offloaded = fsdp.model_copy(update={"offload_parameters": True})
    assert (state_bytes(module, offloaded, cuda), state_bytes(module, offloaded, cpu)) == (0, 3_000)
