"""A job's row as clients see it, wherever an answer shows a job."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from redis.asyncio import Redis

from app.errors import VisionError
from app.http import problems
from app.jobs import presence, repository
from app.jobs.info import JobInfo, Progress
from app.jobs.tables import Job

_COLUMNS = (
    *("id", "state", "queue", "attempt", "max_attempts", "strategy", "metrics", "model"),
    *("created_at", "started_at", "finished_at"),
)
"""Shown as they are in the row."""


class NameLookup(Protocol):
    """Looks up the names of a job's data and its base model."""

    async def of_data(self, jobs: Sequence[Job]) -> dict[uuid.UUID, str]:
        """Names of the collections and datasets that jobs are about; those still there."""

    def of_base(self, spec: dict[str, Any]) -> str | None:
        """What clients call the base model of a job's specification."""


@dataclass(eq=False)
class Describer:
    """Rows of jobs as clients see them."""

    names: NameLookup
    redis: Redis

    async def describe(self, job: Job) -> JobInfo:
        """A job as clients see it."""
        (info,) = await self.describe_all([job])
        return info

    async def describe_all(self, jobs: Sequence[Job]) -> list[JobInfo]:
        """Jobs as clients see them, several at once."""
        names = await self.names.of_data(jobs)
        queues = {job.queue for job in jobs if job.state == "queued"}
        served = {queue: await presence.is_served(self.redis, queue) for queue in queues}
        return [_info(job, self.names.of_base(job.spec), names, served) for job in jobs]


def _info(
    job: Job, base_model: str | None, names: dict[uuid.UUID, str], served: dict[str, bool | None]
) -> JobInfo:
    spec = job.spec
    data = spec.get("data") or {}
    collection, dataset = data.get("collection"), data.get("dataset")
    return JobInfo(
        **{name: getattr(job, name) for name in _COLUMNS},
        kind=spec["kind"],
        served=served[job.queue] if job.state == "queued" else None,
        phase=job.phase if job.state == "running" else None,
        not_before=job.not_before if job.state == "queued" else None,
        task=spec.get("task"),
        method=spec.get("method"),
        base_model=base_model,
        collection=names.get(uuid.UUID(collection)) if collection else None,
        dataset=dataset,
        dataset_name=names.get(uuid.UUID(dataset)) if dataset else None,
        params=spec.get("params") or {},
        name=spec.get("model"),
        seed=spec.get("seed") or 0,
        progress=Progress(step=job.step, of=job.of, eta_s=job.eta_s),
        error=_problem(job),
        cancelling=job.cancel and job.state in repository.OPEN,
    )


def _problem(job: Job) -> dict[str, Any] | None:
    """A failure as the document that a request would have been answered with."""
    if job.error is None:
        return None
    detail = str(job.error.get("detail") or "The job failed.")
    kind = _kinds().get(str(job.error.get("code")))
    document = problems.document((kind or VisionError)(detail))
    if kind is None:
        code = str(job.error.get("code") or VisionError.code)
        document |= {"type": f"urn:llamafarm-vision:problem:{code}", "title": "The job failed"}
        document["error"] = {**document["error"], "code": code}
    return document | {"instance": f"urn:llamafarm-vision:job:{job.id}"}


def _kinds() -> dict[str, type[VisionError]]:
    found: dict[str, type[VisionError]] = {}
    waiting: list[type[VisionError]] = [VisionError]
    while waiting:
        kind = waiting.pop()
        found.setdefault(kind.code, kind)
        waiting += kind.__subclasses__()
    return found
