"""Device names, and limits a container sets."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from app.inference import device
from app.inference.errors import ModelUnavailableError
from app.settings import Settings
from app.strategies.here import machine_of
from app.strategies.probing import hardware


@pytest.mark.parametrize("name", ["cpu", " CPU "])
def test_cpu_runs_float32_in_host_memory(name: str) -> None:
    place = device.parse(name)
    assert (place.kind, place.torch_name, place.dtype_name) == ("cpu", "cpu", "float32")
    assert place.memory_bytes == device.host_memory_bytes() > 100 * 2**20


def test_auto_is_a_device_that_exists() -> None:
    assert device.parse("auto").kind == ("cuda" if device.cuda_devices() else "cpu")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "cuda:0:1", "mps:0"])
def test_other_names_are_refused_by_name(name: str) -> None:
    with pytest.raises(ModelUnavailableError, match="use auto, cpu, cuda, cuda:N or mps"):
        device.parse(name)


def test_a_cuda_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelUnavailableError, match=r"'cuda:99' was asked for"):
        device.parse("cuda:99")


def test_mps_is_refused_on_a_machine_that_is_no_mac() -> None:
    with pytest.raises(ModelUnavailableError, match="Apple silicon"):
        device.parse("mps")


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Mac with 16 GiB, of which Metal recommends 11 to its GPU and 1 is taken, as torch would tell of it."""
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 11 << 30)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 1 << 30)


@pytest.mark.usefixtures("mac")
def test_mps_is_a_macs_gpu_with_what_metal_recommends_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    place = device.parse(" MPS ")
    assert (place.kind, place.torch_name, place.dtype_name) == ("mps", "mps", "float16")
    assert place.training_dtype_name == "float32"
    assert (place.memory_bytes, place.free_bytes) == (11 << 30, 10 << 30)
    emptied: list[bool] = []
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: emptied.append(True))
    place.release_cache()
    assert emptied
    assert device.parse("auto").kind == "cpu"  # until somebody has run it, it is taken where it is named only


@pytest.mark.usefixtures("mac")
def test_a_macs_gpu_is_listed_and_its_memory_is_not_counted_twice(tmp_path: Path) -> None:
    found = hardware(Settings(data_dir=tmp_path, device="mps"))
    assert found.device == "mps"
    assert [(gpu.name, gpu.memory_mb, gpu.compute_capability) for gpu in found.gpus] == [
        ("Apple silicon", 11 << 10, None)
    ]
    assert machine_of(found).usable_gpus == 0


@pytest.mark.parametrize(
    ("capability", "dtype", "training"), [(9, "bfloat16", "bfloat16"), (7, "float16", "float32")]
)
def test_number_formats_of_cuda_follow_what_the_device_computes_in(
    capability: int, dtype: str, training: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (capability, 5))
    place = device.Device("cuda", 1)
    assert (place.torch_name, place.dtype_name, place.training_dtype_name) == ("cuda:1", dtype, training)


def test_threads_follow_the_setting_then_the_container(tmp_path: Path) -> None:
    assert device.threads(3) == 3
    everything = device.threads(0, cgroup=tmp_path)
    assert everything >= 1
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert device.threads(0, cgroup=tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert device.threads(0, cgroup=tmp_path) == everything


def test_memory_follows_the_container(tmp_path: Path) -> None:
    host = device.host_memory_bytes(cgroup=tmp_path)
    (tmp_path / "memory.max").write_text("50000000\n")
    assert device.host_memory_bytes(cgroup=tmp_path) == 50_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert device.host_memory_bytes(cgroup=tmp_path) == host
