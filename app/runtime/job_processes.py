"""The worker and the sweeper that a service runs beside itself."""

from __future__ import annotations

import threading
from typing import Any

from app.embedded import Addresses
from app.inference.device import count_gpus
from app.runtime.children import Child
from app.settings import Settings

MAX_WAIT_SECONDS = 30.0
"""Longest that the worker waits for the default model."""
_MODULE = "workers.worker.beside"
_LEAVE_SECONDS = 8.0
"""How much longer than a job's grace a worker gets to end."""
_SWEEPER_SLOTS = 2
"""One to sweep, one to tidy."""


def job_processes(settings: Settings, addresses: Addresses, asked: threading.Event) -> tuple[Child, ...]:
    """Both, or none where the settings leave jobs to others; started once `asked` is set where the settings say so."""
    if not settings.jobs.worker:
        return ()

    def build_launch_config() -> dict[str, Any]:
        return {"database_url": addresses.database_url, "redis_url": addresses.redis_url}

    def child(name: str, queues: str, slots: int) -> Child:
        return Child(
            name=name,
            command=(_MODULE, queues, str(slots)),
            launch_config=build_launch_config,
            environment={"VISION_DATA_DIR": str(settings.server.data_dir)},
            waits_for=None if settings.jobs.worker_at_once else asked,
        )

    return (
        child("worker", _queues(settings), settings.jobs.job_slots),
        child("sweeper", "sweep", _SWEEPER_SLOTS),
    )


def stop_seconds(settings: Settings) -> float:
    """How long they may take to give back what they work on."""
    return settings.jobs.job_stop_grace_s + _LEAVE_SECONDS


def _queues(settings: Settings) -> str:
    """What this machine can work on."""
    return ",".join(["cpu", "gpu", "multi-gpu"][: 1 + min(count_gpus(settings.models.device), 2)])
