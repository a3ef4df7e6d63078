"""Figures of how fast a job trains, what it takes of its GPU, and batches of texts of about one length."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from workers.methods.finetune.by_length import ByLength, differ_much
from workers.shared import throughput
from workers.shared.run import THROUGHPUT
from workers.shared.throughput import Throughput


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(now=0.0)
    monkeypatch.setattr(throughput.time, "monotonic", lambda: made.now)
    return made


def test_pauses_between_steps_do_not_count(clock: SimpleNamespace) -> None:
    made = Throughput(torch.device("cpu"))
    assert made.figures() == {}
    for _ in range(3):
        made.begin()
        clock.now += 2.0
        assert made.end(8, 100) == {"samples_per_s": 4.0, "tokens_per_s": 50.0}
        clock.now += 100.0
    made.begin()
    clock.now += 2.0
    assert made.end(0) == {"samples_per_s": 3.0, "tokens_per_s": 37.5}


@pytest.mark.parametrize("nvml", [True, False])
def test_a_gpu_tells_its_memory_and_with_nvml_its_utilisation(
    nvml: bool, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 << 30)
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 87)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if nvml else None)
    made = Throughput(torch.device("cuda:0"))
    made.begin()
    clock.now += 1.0
    found = made.end(4)
    assert found == {
        "samples_per_s": 4.0,
        "device_memory_mb": 3072.0,
        **({"device_utilisation": 87.0} if nvml else {}),
    }
    assert found.keys() <= THROUGHPUT


def test_every_example_comes_once_in_batches_of_about_one_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 500, 403).tolist()
    order = ByLength(lengths, 8, seed=3)
    assert len(order) == 403
    first = list(order)
    assert sorted(first) == list(range(403))

    def padding(rows: list[int]) -> int:
        batches = [[lengths[row] for row in rows[start : start + 8]] for start in range(0, len(rows), 8)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches)

    shuffled = np.random.default_rng(1).permutation(403).tolist()
    assert padding(first) < 0.3 * padding(shuffled)
    # each epoch has an order of its own, which seed and epoch alone decide
    again = ByLength(lengths, 8, seed=3)
    assert list(again) == first
    order.set_epoch(1)
    again.set_epoch(1)
    assert list(order) == list(again) != first
    assert list(ByLength([], 8, 0)) == []


def test_answers_of_about_one_length_stay_mixed() -> None:
    assert differ_much(np.random.default_rng(0).integers(1, 500, 403).tolist())
    assert not differ_much([20 + len(colour) for colour in ("red", "blue", "yellow")] * 9)
    assert not differ_much([])
