"""Which batches replay a graph, and where the largest batch lies."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
import torch

from app.inference.device import Device
from app.inference.preprocessing import Preprocessing
from app.inference.runtimes.gpu.buckets import BucketedForward, buckets_up_to
from app.inference.runtimes.gpu.knee import knee, measure
from app.inference.runtimes.gpu.runtime import GpuOptions, GpuRuntime
from app.inference.runtimes.gpu.warming import Warming
from app.inference.runtimes.notes import Note
from tests.pretended_device import Graphs


def total(rows: torch.Tensor) -> torch.Tensor:
    return rows.float().flatten(1).sum(dim=1, keepdim=True)


def tower() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5))


def runtime(graphs: Graphs | None, max_batch: int = 16) -> GpuRuntime:
    way = Preprocessing((8, 8), fixed=(8, 8))
    return GpuRuntime(tower(), Device("cpu"), torch.float32, way, GpuOptions(max_batch), recorder=graphs)


def test_a_batch_replays_the_next_larger_graph_and_sees_only_its_rows() -> None:
    graphs = Graphs()
    inputs = torch.arange(8 * 4, dtype=torch.uint8).view(8, 4)
    forward = BucketedForward(total, inputs, graphs)
    forward.record(8)
    forward.record(4)
    assert forward.recorded == (4, 8)

    inputs.copy_(torch.arange(8 * 4).view(8, 4) * 3)

    assert torch.equal(forward.run(3), total(inputs[:3]))
    assert torch.equal(forward.run(7), total(inputs[:7]))
    assert [graph.replays for graph in graphs.recorded] == [1, 1]


def test_a_graph_far_larger_than_the_batch_is_not_used() -> None:
    graphs = Graphs()
    inputs = torch.ones((8, 4), dtype=torch.uint8)
    forward = BucketedForward(total, inputs, graphs)
    forward.record(8)
    assert forward.run(3).flatten().tolist() == [4.0] * 3
    assert graphs.recorded[0].replays == 0


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, (1,)), (2, (1, 2)), (24, (1, 2, 4, 8, 16, 24)), (8, (1, 2, 4, 8))]
)
def test_buckets_are_powers_of_two_and_the_largest(largest: int, sizes: tuple[int, ...]) -> None:
    assert buckets_up_to(largest) == sizes


def test_the_knee_is_the_smallest_batch_near_the_best_rate() -> None:
    rates = {1: 600.0, 8: 4_000.0, 32: 9_112.0, 64: 17_000.0, 128: 24_100.0, 256: 24_943.0}
    assert knee(rates) == 128
    assert knee({1: 100.0, 2: 101.0, 4: 60.0}) == 1


def test_measuring_ends_with_its_time() -> None:
    asked: list[int] = []

    def slow(size: int, repeats: int) -> float:
        asked.append(size)
        return 0.4 * repeats

    assert list(measure([8, 1, 2, 4], slow)) == [1, 2]
    assert set(asked) == {1, 2}


def test_graphs_and_the_largest_batch_come_in_the_background(tmp_path: Path) -> None:
    graphs = Graphs()
    made = runtime(graphs)
    told: list[int] = []
    done = threading.Event()

    def tell(largest: int) -> None:
        told.append(largest)
        done.set()

    warming = Warming(made, Note(tmp_path / "largest.json"), largest=None, on_largest=tell)
    warming.start()
    assert done.wait(30)
    warming.stop()

    assert told[0] in buckets_up_to(16)
    assert made.forward.recorded == buckets_up_to(told[0])
    assert Note(tmp_path / "largest.json").read()["largest"] == told[0]


def test_what_was_measured_once_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = Note(tmp_path / "largest.json")
    note.write({"largest": 4})
    made = runtime(Graphs())
    monkeypatch.setattr(made.streams, "time", lambda *_: pytest.fail("it measured again"))
    Warming(made, note, largest=None, on_largest=lambda _: None).run()
    assert made.forward.recorded == (1, 2, 4)


def test_graphs_that_do_not_fit_are_left_out_and_the_batch_bounded(tmp_path: Path) -> None:
    told: list[int] = []
    made = runtime(Graphs(fits=4))
    Warming(made, Note(tmp_path / "largest.json"), largest=16, on_largest=told.append).run()
    assert made.forward.recorded == (1, 2, 4)
    assert told == [4]


def test_a_model_that_no_graph_records_runs_eagerly_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="app")  # whatever a service in this process has set
    graphs = Graphs(error=RuntimeError("operation not permitted when stream is capturing"))
    made = runtime(graphs)
    told: list[int] = []
    Warming(made, Note(tmp_path / "largest.json"), largest=None, on_largest=told.append).run()
    assert made.forward.recorded == ()
    assert "without graphs" in made.label
    assert len([line for line in caplog.records if "records no graphs" in line.message]) == 1
    assert told, "the largest batch is measured all the same"
