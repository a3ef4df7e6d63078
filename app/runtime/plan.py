"""Into which processes a service is split on this machine, decided without loading torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from app.inference.capacity import decode_threads, images_in_flight
from app.inference.device import count_cuda_devices, threads
from app.settings import Settings

MAX_FRONT_ENDS = 16
RESERVED_CORES = 2
"""Of those that `auto` counts: for the engine, and for everything else."""
MAX_GPU_BATCH = 256
"""Beyond this no GPU was seen to gain; what one really takes best, its engine measures."""
_MIN_POOL = 2
"""Database connections that one front end needs: one for a request, one for the task that polls versions."""


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
    if wanted.front_ends != "auto":
        front_ends = int(wanted.front_ends)
    elif any(device.startswith("cuda") for device in devices):
        front_ends = min(MAX_FRONT_ENDS, max(1, cores - RESERVED_CORES))
    else:
        front_ends = 1 if len(devices) > 1 else 0
    return Plan(front_ends, devices if front_ends else ())


def plan_here(settings: Settings) -> Plan:
    """What they mean on this machine."""
    looks_for_gpu = (
        settings.models.device.strip().lower() not in ("cpu", "mps") and settings.processes.front_ends != 0
    )
    return plan(settings, gpus=count_cuda_devices() if looks_for_gpu else 0, cores=threads())


def _devices(settings: Settings, gpus: int) -> tuple[str, ...]:
    if named := settings.processes.device_list:
        return named
    device = settings.models.device.strip().lower()
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    found = [f"cuda:{index}" for index in range(gpus)] if device == "cuda" and gpus else [device]
    count = len(found) if settings.processes.engines == "auto" else settings.processes.engines
    return tuple(found[index % len(found)] for index in range(count))


def front_end_settings(settings: Settings, made: Plan) -> Settings:
    """Those of one of so many front ends: what a process has of its own is divided, so that the settings keep
    meaning the whole service.
    """
    front_ends = made.front_ends
    return settings.replace(
        front_ends=front_ends,
        images_in_flight=math.ceil(
            images_in_flight(settings, _batch_items(settings, made.devices)) / front_ends
        ),
        vlm_in_flight=math.ceil(_answers_in_flight(settings, made.devices) / front_ends),
        decode_threads=math.ceil(decode_threads(settings) / front_ends),
        database_pool_size=max(_MIN_POOL, math.ceil(settings.server.database_pool_size / front_ends)),
    )


def _batch_items(settings: Settings, devices: tuple[str, ...]) -> int:
    """Items in the largest batches of all engines together."""
    batching = settings.batching
    on_gpu = batching.max_batch or MAX_GPU_BATCH
    return sum(batching.cpu_max_batch if device == "cpu" else on_gpu for device in devices)


def _answers_in_flight(settings: Settings, devices: tuple[str, ...]) -> int:
    """Of all front ends together: for each engine two of its largest batches."""
    return settings.answers.vlm_in_flight or len(devices) * settings.answers.in_flight


def engine_settings(settings: Settings, made: Plan, index: int) -> Settings:
    """Those of the engine of that index: its device, and its share of the cores where several compute on them.

    It lets wait whatever front ends have under way, where that is more than the settings say: they bound what waits,
    and know whose it is, which the engine's refusals would not ask.
    """
    devices = made.devices
    of_front_end = front_end_settings(settings, made)
    # twice: see `app.inference.fair_semaphore`
    images = 2 * made.front_ends * of_front_end.batching.images_in_flight
    answers = 2 * made.front_ends * of_front_end.answers.vlm_in_flight
    on_cpu = sum(device == "cpu" for device in devices)
    device = devices[index]
    share = max(1, threads(settings.models.threads) // on_cpu) if device == "cpu" else settings.models.threads
    return settings.replace(
        device=device,
        threads=share,
        max_queue=max(settings.batching.max_queue, images),
        vlm_max_queue=max(settings.answers.vlm_max_queue, answers),
    )
