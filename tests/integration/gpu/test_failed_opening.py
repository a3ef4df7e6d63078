"""What an opening took of a device is given back where it fails, at once and not at some later search for garbage.

The CPU is taken for the device.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.families import hugging_face_adapter as adapter
from app.inference import opening as models
from app.inference.device import Device
from app.inference.opening import ModelOpener
from app.inference.runtimes import gpu_runtime, offers
from app.inference.runtimes.gpu import opening
from app.inference.runtimes.gpu.runtime import GpuRuntime
from app.inference.runtimes.gpu.streams import InOrder
from app.inference.runtimes.levels import Ladder
from app.inference.runtimes.tower import Tower
from app.inference.shared_bases import tensor_bytes
from app.inference.sources import EncoderConfig, EncoderSource
from app.settings import Settings
from tests.integration.gpu.test_adapters import opened, write_adapter
from tests.pretended_device import SmallModule, small_tower

CPU = Device("cpu")
Taken = list[weakref.ref[Any]]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Taken]:
    """The runtimes that are made from now on, and the buffers on their device. Nobody looks for garbage meanwhile."""
    found: Taken = []
    allocate, start = InOrder.device_buffer, GpuRuntime.__init__

    def note_buffer(self: InOrder, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        memory = allocate(self, shape, dtype)
        found.append(weakref.ref(memory))
        return memory

    def note_runtime(self: GpuRuntime, *arguments: Any, **options: Any) -> None:
        found.append(weakref.ref(self))
        start(self, *arguments, **options)

    monkeypatch.setattr(InOrder, "device_buffer", note_buffer)
    monkeypatch.setattr(GpuRuntime, "__init__", note_runtime)
    gc.collect()
    gc.disable()
    yield found
    gc.enable()


def config_in(folder: Path, **changes: Any) -> EncoderConfig:
    config = EncoderConfig("cpu", "auto", True, 0.99, 1, folder, allow_downloads=False, max_batch=4)
    return replace(config, **changes)


def noted_tower(taken: Taken) -> Tower:
    """One whose weights are among what is taken."""

    def build() -> torch.nn.Module:
        module = SmallModule().eval().requires_grad_(False)
        taken.extend(map(weakref.ref, module.parameters()))
        return module

    return replace(small_tower(), build=build)


def refuse(*_: object, **__: object) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory")


def fails(work: Callable[[], object]) -> bool:
    """Whether it raises; nothing of the error is kept."""
    try:
        work()
    except torch.OutOfMemoryError:
        return True
    return False


def left(taken: Taken) -> list[Any]:
    return [thing for reference in taken if (thing := reference()) is not None]


def test_a_runtime_that_cannot_be_compared_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: Taken
) -> None:
    monkeypatch.setattr(opening, "_agree", refuse)
    assert fails(lambda: gpu_runtime(noted_tower(taken), config_in(tmp_path), CPU))
    assert len(taken) >= 5  # the runtime, its input, two buffers to be filled, its weights
    assert left(taken) == []


def test_a_compiled_model_that_cannot_be_recorded_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: Taken
) -> None:
    monkeypatch.setattr(torch, "compile", lambda module, **_: refuse)
    offered = offers.CudaOffers(noted_tower(taken), CPU, config_in(tmp_path))
    assert fails(lambda: offered.load(offers.COMPILED))
    assert len(taken) >= 5
    assert left(taken) == []


def test_of_what_was_measured_only_what_runs_is_kept(tmp_path: Path, taken: Taken) -> None:
    config = config_in(tmp_path, optimisation="basic")
    ladder = Ladder(noted_tower(taken), config, CPU)
    ladder.offers = offers.CudaOffers(noted_tower(taken), CPU, config)
    runtime, _ = ladder.climb()
    runtimes = [thing for thing in left(taken) if isinstance(thing, GpuRuntime)]
    assert len([reference for reference in taken if reference() is None]) >= 5
    assert runtimes == [runtime]


@pytest.mark.parametrize(
    "place", [(adapter, "launcher_of"), (models, "LiveEncoder")], ids=["opened", "behind a batcher"]
)
def test_an_adapter_that_fails_leaves_its_base_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: Taken, place: tuple[Any, str]
) -> None:
    config = config_in(tmp_path, optimisation="none")
    folder = write_adapter("clip-tiny", tmp_path / "one", 0)
    held = opened("clip-tiny", folder, config)
    base = held.bases[0]
    before = tensor_bytes(base.module)
    monkeypatch.setattr(
        adapter, "_on_gpu", lambda tower, config, device: gpu_runtime(tower, config, Device("cpu"))
    )
    monkeypatch.setattr(*place, refuse)

    class Opening:
        """Families of which one encoder is asked for."""

        def load(self, kind: str, source: EncoderSource, config: EncoderConfig) -> object:
            return opened("clip-tiny", folder, config)

    with ThreadPoolExecutor(1) as pool:
        opener = ModelOpener(Settings(data_dir=tmp_path, device="cpu"), Opening(), pool, None)  # type: ignore[arg-type]
        opener.config = config
        assert fails(lambda: opener.open_encoder(EncoderSource("", "one", str(folder), True)))
    assert len(taken) >= 4
    assert left(taken) == []
    assert len(base.adapters) == 1
    assert tensor_bytes(base.module) == before
    held.close()
