"""Into which processes a service is split on this machine, decided without loading torch."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app.inference.device import threads
from app.settings import Settings

MAX_FRONT_ENDS = 16
RESERVED_CORES = 2
"""Of those that `auto` counts: for the engine, and for everything else."""
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg")
_MIN_POOL = 2
"""Database connections that one front end needs: one for a request, one for whoever looks at versions."""


@dataclass(frozen=True)
class Plan:
    """No front end means one process that does all."""

    front_ends: int
    devices: tuple[str, ...]
    """Of each engine."""


def plan(settings: Settings, *, gpus: int, cores: int) -> Plan:
    """What `settings` mean on a machine with so many GPUs that torch can use, and so many cores."""
    wanted = settings.processes
    devices = _devices(settings, gpus)
    front_ends = wanted.front_ends
    if front_ends == "auto":
        if any(device.startswith("cuda") for device in devices):
            front_ends = min(MAX_FRONT_ENDS, max(1, cores - RESERVED_CORES))
        else:
            front_ends = 1 if len(devices) > 1 else 0
    return Plan(front_ends, devices if front_ends else ())


def plan_here(settings: Settings) -> Plan:
    """What they mean on this machine."""
    looks_for_gpu = settings.models.device not in ("cpu", "mps") and settings.processes.front_ends != 0
    return plan(settings, gpus=count_gpus() if looks_for_gpu else 0, cores=threads())


def _devices(settings: Settings, gpus: int) -> tuple[str, ...]:
    if named := settings.processes.device_list:
        return named
    device = settings.models.device.strip().lower()
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    found = [f"cuda:{index}" for index in range(gpus)] if device == "cuda" and gpus else [device]
    count = len(found) if settings.processes.engines == "auto" else settings.processes.engines
    return tuple(found[index % len(found)] for index in range(count))


def count_gpus() -> int:
    """How many GPUs CUDA shows to this process, by its driver's own library; 0 where torch was built without CUDA."""
    if not any(Path(driver).exists() for driver in _DRIVERS) or not _torch_has_cuda():
        return 0
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        count = ctypes.c_int()
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


def _torch_has_cuda() -> bool:
    """As the file says that torch takes it from; importing torch takes seconds, and memory for good."""
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


def front_end_settings(settings: Settings, front_ends: int) -> Settings:
    """Those of one of so many front ends: what a process has of its own is divided, so that the settings keep
    meaning the whole service.
    """
    return settings.replace(
        decode_threads=math.ceil(threads(settings.batching.decode_threads) / front_ends),
        database_pool_size=max(_MIN_POOL, math.ceil(settings.server.database_pool_size / front_ends)),
        decoders=math.ceil(settings.limits.decoders / front_ends),
        upload_checks=math.ceil(settings.uploads.upload_checks / front_ends),
    )


def engine_settings(settings: Settings, devices: tuple[str, ...], index: int) -> Settings:
    """Those of the engine of that index: its device, and its share of the cores where several compute on them."""
    on_cpu = sum(device == "cpu" for device in devices)
    device = devices[index]
    share = max(1, threads(settings.models.threads) // on_cpu) if device == "cpu" else settings.models.threads
    return settings.replace(device=device, threads=share)
