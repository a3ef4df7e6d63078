"""What the machine offers a model: which device, how much memory, how many threads and which number format.

Imports torch only when a question needs it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.inference.errors import ModelUnavailableError
from app.inference.recording import RECORDING

_DRIVER_FILES = ("/dev/nvidiactl", "/dev/dxg")
_NAME = re.compile(r"(auto|cpu|mps|cuda(?::(\d+))?)")


@dataclass(frozen=True)
class Device:
    """A place where models run, and the dtype they use there unless measured otherwise."""

    kind: str
    """`cpu`, `cuda`, or `mps` (the GPU of an Apple silicon Mac)."""
    index: int = 0
    """Which CUDA device; 0 on CPU and MPS."""

    @property
    def torch_name(self) -> str:
        return f"cuda:{self.index}" if self.kind == "cuda" else self.kind

    @property
    def dtype_name(self) -> str:
        """`bfloat16` on CUDA (`float16` before compute capability 8), `float16` on MPS, `float32` on CPU.

        MPS takes bfloat16 too, but the M1 and M2 emulate it with float32 (huggingface/transformers#40458), and where
        it is native it is as fast as float16 (fixie-ai/ultravox#95).
        """
        if self.kind == "cpu":
            return "float32"
        if self.kind == "mps":
            return "float16"
        return "bfloat16" if computes_bfloat16(self.index) else "float16"

    @property
    def training_dtype_name(self) -> str:
        """The dtype of a forward pass in training, weights that learn being float32: `bfloat16` on CUDA devices that
        compute in it, else `float32` (float16 needs its losses scaled, which only the Trainer does, when asked to).
        """
        return "bfloat16" if self.kind == "cuda" and computes_bfloat16(self.index) else "float32"

    @property
    def memory_bytes(self) -> int:
        """Bytes models may share at most: the GPU's memory, what Metal recommends of a Mac's, or what this process may
        use of the host's.
        """
        if self.kind == "cpu":
            return host_memory_bytes()
        import torch

        if self.kind == "mps":
            return int(torch.mps.recommended_max_memory())
        return int(torch.cuda.get_device_properties(self.index).total_memory)

    @property
    def free_bytes(self) -> int | None:
        """Bytes of the GPU that nobody has taken now; None on CPU, whose memory `/proc` tells of."""
        if self.kind == "cpu":
            return None
        import torch

        if self.kind == "mps":
            return max(self.memory_bytes - int(torch.mps.driver_allocated_memory()), 0)
        return int(torch.cuda.mem_get_info(self.index)[0])

    @property
    def card(self) -> str:
        """What the GPU is called, such as `NVIDIA H100 80GB HBM3`, or `Apple silicon`; empty on CPU."""
        if self.kind != "cuda":
            return "Apple silicon" if self.kind == "mps" else ""
        import torch

        return str(torch.cuda.get_device_name(self.index))

    def release_cache(self) -> None:
        """Give memory that torch holds for later back to the GPU; nothing on CPU."""
        if self.kind == "cpu":
            return
        import torch

        backend: Any = torch.mps if self.kind == "mps" else torch.cuda
        with RECORDING:
            backend.empty_cache()


def parse(name: str) -> Device:
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps` to a device that exists.

    `auto` is CUDA where there is one, else the CPU: MPS is used where it is named only, since nobody has run it yet.

    Raises `ModelUnavailableError` for any other name and for a device this machine does not have.
    """
    match = _NAME.fullmatch(name.strip().lower())
    if match is None:
        raise ModelUnavailableError(f"'{name}' is no device: use auto, cpu, cuda, cuda:N or mps.")
    if match[1] == "cpu":
        return Device("cpu")
    if match[1] == "mps":
        if not has_mps():
            raise ModelUnavailableError(
                "The device 'mps' was asked for, which is the GPU of an Apple silicon Mac; this machine has none that "
                "torch can use."
            )
        return Device("mps")
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
    if not _has_driver():
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def torch_has_cuda() -> bool:
    """Whether torch was built for CUDA, as the file says that it takes that from: importing it takes seconds."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return False
    try:
        written = (Path(found.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return True
    return not any(
        line.startswith("cuda") and line.partition("=")[2].strip() == "None" for line in written.splitlines()
    )


def count_cuda_devices() -> int:
    """How many GPUs models may run on here: what CUDA shows to this process, by its driver's own library and without
    loading torch; 0 where torch was built without CUDA.
    """
    if not _has_driver() or not torch_has_cuda():
        return 0
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        count = ctypes.c_int()
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


def count_gpus(name: str) -> int:
    """GPUs that jobs on this machine may use under the setting `name`, counted without torch, which the processes that
    choose queues do not load. Blocks for a moment the first time.
    """
    name = name.strip().lower()
    if name in ("cpu", "mps"):
        return int(name == "mps" and platform.system() == "Darwin")
    count = count_cuda_devices()
    return min(count, 1) if ":" in name else count


def _has_driver() -> bool:
    return any(Path(file).exists() for file in _DRIVER_FILES)


def computes_bfloat16(index: int) -> bool:
    """Whether a CUDA device multiplies bfloat16 in hardware: from compute capability 8 on. Older ones emulate it, which
    `torch.cuda.is_bf16_supported()` counts as support.
    """
    import torch

    return bool(torch.cuda.get_device_capability(index)[0] >= 8)


def has_mps() -> bool:
    """Whether torch can use the GPU of this Mac; False without asking torch on any other machine."""
    if platform.system() != "Darwin" or platform.machine() != "arm64":
        return False
    import torch

    return bool(torch.backends.mps.is_available())


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
