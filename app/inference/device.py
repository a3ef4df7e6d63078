"""What the machine offers a model: which device, how much memory, how many threads and which number format.

Imports torch only when a question needs it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from app.inference.errors import ModelUnavailableError

_NAME = re.compile(r"(auto|cpu|cuda(?::(\d+))?)")


@dataclass(frozen=True)
class Device:
    """A place where models run, and the dtype they use there unless measured otherwise."""

    kind: str
    """`cpu` or `cuda`."""
    index: int = 0
    """Which CUDA device; 0 on CPU."""

    @property
    def torch_name(self) -> str:
        return f"cuda:{self.index}" if self.kind == "cuda" else "cpu"

    @property
    def dtype_name(self) -> str:
        """`bfloat16` on CUDA (`float16` before compute capability 8), `float32` on CPU."""
        if self.kind == "cpu":
            return "float32"
        import torch

        major, _ = torch.cuda.get_device_capability(self.index)
        return "bfloat16" if major >= 8 else "float16"

    @property
    def memory_bytes(self) -> int:
        """Bytes models may share at most: the GPU's memory, or what this process may use of the host's."""
        if self.kind == "cpu":
            return host_memory_bytes()
        import torch

        return int(torch.cuda.get_device_properties(self.index).total_memory)


def parse(name: str) -> Device:
    """`auto`, `cpu`, `cuda` or `cuda:N` to a device that exists.

    Raises `ModelUnavailableError` for any other name and for a CUDA device this machine does not have.
    """
    match = _NAME.fullmatch(name.strip().lower())
    if match is None:
        raise ModelUnavailableError(f"'{name}' is no device: use auto, cpu, cuda or cuda:N.")
    if match[1] == "cpu":
        return Device("cpu")
    count = cuda_devices()
    if match[1] == "auto":
        return Device("cuda") if count else Device("cpu")
    index = int(match[2] or 0)
    if index >= count:
        raise ModelUnavailableError(
            f"The device '{name}' was asked for, but this machine has {count} CUDA devices."
        )
    return Device("cuda", index)


def cuda_devices() -> int:
    """How many CUDA devices torch can use; 0 without asking torch where no driver is loaded."""
    if not Path("/dev/nvidiactl").exists() and not Path("/dev/dxg").exists():
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def threads(setting: int = 0, cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPU threads one model uses: the setting, or every core this process may run on and has quota for."""
    if setting > 0:
        return setting
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit() and int(period) > 0:
        cores = min(cores, max(1, int(quota) // int(period)))
    return max(1, cores)


def host_memory_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Physical memory in bytes, or the container's limit where that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read(cgroup / "memory.max").strip()
    return min(total, int(limit)) if limit.isdigit() else total


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
