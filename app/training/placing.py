"""Which queue a training goes to, where its strategy leaves that open: by the size of its base and the GPUs at hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from redis.asyncio import Redis

from app.errors import VisionError
from app.families import FAMILIES
from app.inference import device
from app.inference.sources import EncoderConfig
from app.jobs import presence
from app.jobs.spec import JobSpec, ResolvedJob
from app.settings import Settings
from app.training.base_size import count_parameters

_FEW_PROCESSES = 2
"""Processes that train on any machine; more need a core each, since each holds torch and the model."""


class Placement:
    """The queue of one service's trainings."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        """`redis` tells which queues workers of other machines listen to."""
        self._settings = settings
        self._redis = redis

    async def place(self, job: ResolvedJob, base: str | None = None) -> ResolvedJob:
        """The job over `base`, or else its own: from the queue `cpu` to `gpu` where the base is large
        and a worker with a GPU can take it, this machine's or another that listens.

        A machine without any trains what it is asked to, however long that takes, in several processes too, unless a
        worker for such jobs listens.
        """
        if job.queue == "multi-gpu":
            return await self._place_processes(job)
        if job.queue != "cpu":
            return job
        parameters = await asyncio.to_thread(self._base_parameters, job.spec, base)
        if parameters is None or parameters < self._settings.jobs.gpu_base_parameters_m * 1_000_000:
            return job
        gpus = await asyncio.to_thread(device.count_gpus, self._settings.models.device)
        if gpus or await presence.is_served(self._redis, "gpu"):
            return replace(job, queue="gpu")
        return job

    async def _place_processes(self, job: ResolvedJob) -> ResolvedJob:
        """To `cpu` where no worker listens for it and this machine, which has no GPU, works on jobs itself and has a
        core for each of the processes.
        """
        if not self._settings.jobs.worker or job.spec.params.get("nodes", 1) > 1:
            return job
        gpus = await asyncio.to_thread(device.count_gpus, self._settings.models.device)
        if gpus or await presence.is_served(self._redis, "multi-gpu"):
            return job
        processes, cores = job.spec.params["processes"], device.threads()
        if processes > max(cores, _FEW_PROCESSES):
            said = (
                f"There is no GPU here, and {processes} processes are too many for this machine's cores ({cores}): the "
                "job waits for a worker of the queue 'multi-gpu'."
            )
            return replace(job, warnings=(*job.warnings, said))
        said = f"There is no GPU here: {processes} processes share this machine's cores."
        return replace(job, queue="cpu", warnings=(*job.warnings, said))

    def _base_parameters(self, spec: JobSpec, base: str | None) -> int | None:
        """Of the base model, as far as its files are on this machine."""
        config = replace(EncoderConfig.from_settings(self._settings), allow_downloads=False)
        kind = spec.base_kind or "encoder"
        try:
            source = FAMILIES.resolve(kind, base or spec.base_model or "")
            location = FAMILIES.locate(kind, source, config).location
        except VisionError:  # of a hub's model that is yet to be fetched nothing is known
            return None
        return count_parameters(Path(location)) if location else None
