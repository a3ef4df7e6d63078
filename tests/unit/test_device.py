"""Device names, and limits a container sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.inference import device
from app.inference.errors import ModelUnavailableError


@pytest.mark.parametrize("name", ["cpu", " CPU "])
def test_cpu_runs_float32_in_host_memory(name: str) -> None:
    place = device.parse(name)
    assert (place.kind, place.torch_name, place.dtype_name) == ("cpu", "cpu", "float32")
    assert place.memory_bytes == device.host_memory_bytes() > 100 * 2**20


def test_auto_is_a_device_that_exists() -> None:
    assert device.parse("auto").kind == ("cuda" if device.cuda_devices() else "cpu")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "cuda:0:1"])
def test_other_names_are_refused_by_name(name: str) -> None:
    with pytest.raises(ModelUnavailableError, match="use auto, cpu, cuda or cuda:N"):
        device.parse(name)


def test_a_cuda_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelUnavailableError, match=r"'cuda:99' was asked for"):
        device.parse("cuda:99")


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
