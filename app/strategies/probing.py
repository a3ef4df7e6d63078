"""What this machine has: processor, memory and GPUs."""

from __future__ import annotations

import platform
from pathlib import Path

from app.errors import VisionError
from app.inference import device
from app.settings import Settings
from app.strategies.schemas import Cpu, Gpu, Hardware, Memory

_MIB = 1024 * 1024
_X86 = (
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
)
_ARM = ("asimd", "asimddp", "bf16", "i8mm", "sve")
FLAGS = (*_X86, *_ARM)
"""What decides how fast models run on a CPU, as Linux calls it."""


def hardware(settings: Settings) -> Hardware:
    """This machine; blocks while the first look at the GPUs lasts."""
    cpu = _first_of(Path("/proc/cpuinfo"))
    has = set(cpu.get("flags", cpu.get("Features", "")).split())
    return Hardware(
        cpu=Cpu(
            name=cpu.get("model name") or platform.processor() or platform.machine(),
            architecture=platform.machine(),
            cores=device.threads(),
            flags=[flag for flag in FLAGS if flag in has],
        ),
        memory=Memory(total_mb=device.host_memory_bytes() // _MIB, available_mb=_available_mb()),
        gpus=_gpus(),
        device=_device(settings),
    )


def _device(settings: Settings) -> str | None:
    try:
        return device.parse(settings.models.device).torch_name
    except VisionError:
        return None


def _gpus() -> list[Gpu]:
    if device.has_mps():
        return [_apple_gpu(device.Device("mps"))]
    count = device.cuda_devices()
    if not count:
        return []
    import torch  # only where there is a GPU to ask about

    found = []
    for index in range(count):
        about = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        found.append(
            Gpu(
                index=index,
                name=about.name,
                memory_mb=total // _MIB,
                memory_available_mb=free // _MIB,
                compute_capability=f"{about.major}.{about.minor}",
            )
        )
    return found


def _apple_gpu(place: device.Device) -> Gpu:
    return Gpu(
        index=0,
        name=place.card,
        memory_mb=place.memory_bytes // _MIB,
        memory_available_mb=(place.free_bytes or 0) // _MIB,
        compute_capability=None,
    )


def _first_of(path: Path) -> dict[str, str]:
    """`name: value` lines up to the first empty one; nothing where the file cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _available_mb() -> int | None:
    words = _first_of(Path("/proc/meminfo")).get("MemAvailable", "").split()
    return int(words[0]) // 1024 if words and words[0].isdigit() else None
