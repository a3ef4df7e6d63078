"""What happens to jobs: written down, announced, later looked at, stopped or retried.

A row is committed before a worker hears of it, so that no job is lost.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.quota import StorageQuota
from app.errors import OverloadedError
from app.jobs import machine, repository
from app.jobs.errors import ArtifactNotFoundError, IdempotencyKeyError, JobNotFoundError, JobStateError
from app.jobs.repository import NewJob, Series, digest
from app.jobs.spec import Kind, ResolvedJob
from app.jobs.tables import Artifact, Job
from app.settings import Settings
from app.storage.database import Database

__all__ = ["Artifact", "Job", "Jobs", "Publisher", "digest", "states", "trains"]

_FULL_RETRY_SECONDS = 30
_STORING: frozenset[Kind] = frozenset({"train", "export", "prepare", "teach"})
"""Jobs that leave data behind of a size that nobody knows before."""

log = structlog.get_logger("app.jobs")


class Publisher(Protocol):
    """The message queue to workers."""

    def publish(self, job_id: uuid.UUID, queue: str) -> bool:
        """Send a message; False where the broker is away. Blocks for a moment."""


async def states(
    session: AsyncSession, ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, tuple[str, dict[str, Any] | None]]:
    """State and error of each of these jobs that is still there, in the caller's transaction."""
    rows = await session.execute(select(Job.id, Job.state, Job.error).where(Job.id.in_(ids)))
    return {job_id: (state, error) for job_id, state, error in rows}


async def trains(session: AsyncSession, workspace: str, model: str) -> bool:
    """Whether a job is open that is to make a model of that name."""
    return await repository.find_open(session, workspace, "train", ("model",), model) is not None


class Jobs:
    """The jobs of one service, whichever worker runs them."""

    def __init__(self, settings: Settings, database: Database, queue: Publisher, quota: StorageQuota) -> None:
        self._settings = settings
        self._database = database
        self._queue = queue
        self._quota = quota

    async def queue(
        self, workspace: str, wanted: ResolvedJob, *, key: str | None = None, digest: str | None = None
    ) -> Job:
        """Write a resolved job down, then tell the workers; raises OverloadedError, IdempotencyKeyError, and
        WorkspaceFullError for a job that would store something where the workspace stores all it may.
        """
        if wanted.spec.kind in _STORING:
            await self._quota.check(workspace)
        job_id = uuid.uuid4()
        new = NewJob(
            workspace,
            wanted.strategy,
            wanted.spec,
            wanted.queue,
            self._settings.jobs.job_attempts,
            idempotency_key=key,
            body_digest=digest,
        )
        most = self._settings.jobs.max_open_jobs
        async with self._database.session() as session:
            made = await repository.submit(session, new, job_id, max_open=most)
            if made:
                await repository.tell(session, job_id, "state", {"state": "queued", "attempt": 0})
                for line in wanted.warnings:
                    await repository.tell(session, job_id, "log", {"line": line})
        if not made:
            if key is not None and (before := await self.find_repeated(workspace, key, digest)) is not None:
                return before  # another request with this key came in between
            if made is None:
                raise _queue_full(most)
            raise RuntimeError("a job was neither inserted nor there before")
        await self._publish(job_id, wanted.queue)
        return await self.get(workspace, job_id)

    async def get(self, workspace: str, job_id: uuid.UUID) -> Job:
        """One job; raises JobNotFoundError."""
        async with self._database.session() as session:
            job = await repository.find(session, workspace, job_id)
        if job is None:
            raise JobNotFoundError(f"There is no job '{job_id}': GET /v1/jobs lists their ids.")
        return job

    async def page(
        self,
        workspace: str,
        *,
        limit: int,
        states: Sequence[str] = (),
        before: tuple[datetime, uuid.UUID] | None = None,
    ) -> list[Job]:
        """Jobs, the newest first."""
        async with self._database.session() as session:
            return await repository.listing(session, workspace, limit=limit, states=states, before=before)

    async def cancel(self, workspace: str, job_id: uuid.UUID) -> Job:
        """Stop a job: at once where it waits, within seconds where it runs; one that is cancelled already stays so.

        Raises JobNotFoundError, and JobStateError for one that ended otherwise.
        """
        async with self._database.session() as session:
            state = await repository.cancel(session, workspace, job_id)
            if state == "cancelled":
                await repository.tell(session, job_id, "state", {"state": "cancelled"})
            elif state == "running":
                await repository.tell(session, job_id, "log", {"line": "Cancelling was asked for."})
        job = await self.get(workspace, job_id)
        if state is None and job.state != "cancelled":
            raise JobStateError(f"The job has {job.state} already.")
        return job

    async def retry(self, workspace: str, job_id: uuid.UUID) -> Job:
        """Queue a failed or cancelled job again; it goes on from its last checkpoint where there is one.

        Raises JobNotFoundError, JobStateError for a job in another state, OverloadedError where too many are open.
        """
        most = self._settings.jobs.max_open_jobs
        async with self._database.session() as session:
            full = await repository.count_open_jobs(session, workspace, lock=True) >= most
            queue = None if full else await repository.retry(session, workspace, job_id)
            if queue is not None:
                await repository.tell(session, job_id, "state", {"state": "queued", "attempt": 0})
        if queue is None:
            job = await self.get(workspace, job_id)
            if full and job.state in repository.AGAIN:
                raise _queue_full(most)
            raise JobStateError(
                f"Only failed and cancelled jobs can be tried again; this one is {job.state}."
            )
        await self._publish(job_id, queue)
        return await self.get(workspace, job_id)

    async def metrics(self, workspace: str, job_id: uuid.UUID, *, points: int) -> list[Series]:
        """A job's metrics by step, at most `points` of each; raises JobNotFoundError."""
        await self.get(workspace, job_id)
        async with self._database.session() as session:
            return await repository.metrics(session, job_id, points=points)

    async def has_told_all(self, job_id: uuid.UUID, after: int) -> bool:
        """Whether a job has ended without an event after that id."""
        async with self._database.session() as session:
            return await repository.has_told_all(session, job_id, after)

    async def artifacts(self, workspace: str, job_id: uuid.UUID) -> list[Artifact]:
        """What a job left behind; raises JobNotFoundError."""
        await self.get(workspace, job_id)
        async with self._database.session() as session:
            return await repository.artifacts(session, workspace, job_id)

    async def artifact(self, workspace: str, job_id: uuid.UUID, name: str) -> Artifact:
        """One file of them; raises JobNotFoundError and ArtifactNotFoundError."""
        for file in await self.artifacts(workspace, job_id):
            if file.name == name:
                return file
        raise ArtifactNotFoundError

    async def find_open_job(self, workspace: str, kind: Kind, collection: uuid.UUID) -> uuid.UUID | None:
        """An open job of that kind on a collection."""
        async with self._database.session() as session:
            return await repository.find_open(
                session, workspace, kind, ("data", "collection"), str(collection)
            )

    async def find_repeated(self, workspace: str, key: str, digest: str | None) -> Job | None:
        """The job that the same key and body made before; raises IdempotencyKeyError for another body."""
        async with self._database.session() as session:
            job = await repository.by_key(session, workspace, key)
        if job is not None and job.body_digest != digest:
            raise IdempotencyKeyError
        return job

    async def _publish(self, job_id: uuid.UUID, queue: str) -> None:
        """Publish the job to workers; where that fails, the sweeper publishes it later."""
        if not await asyncio.to_thread(self._queue.publish, job_id, queue):
            log.warning("a job could not be published to workers yet", job=str(job_id), queue=queue)
            return
        try:
            async with self._database.session() as session:
                await session.execute(machine.PUBLISHED, {"id": job_id})
        except SQLAlchemyError as error:  # the sweeper publishes it again
            log.warning("a message could not be noted", job=str(job_id), reason=type(error).__name__)


def _queue_full(most: int) -> OverloadedError:
    return OverloadedError(
        f"{most} jobs wait or run already: try again when some are done.", retry_after_s=_FULL_RETRY_SECONDS
    )
