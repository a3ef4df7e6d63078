"""Jobs, their events and their files as rows; every look-up is held to a workspace here.

What may happen to a job is `app.jobs.machine`'s, whose statements this runs for the service.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from app.access.workspaces import lock_workspace
from app.jobs import machine
from app.jobs.spec import JobSpec, Kind
from app.jobs.tables import Artifact, Job, JobEvent

OPEN = ("queued", "running")
FINISHED = ("succeeded", "failed", "cancelled")
AGAIN = ("failed", "cancelled")
"""What a retry queues again."""


@dataclass(frozen=True)
class NewJob:
    """A job before it is submitted."""

    workspace: str
    strategy: str | None
    spec: JobSpec
    queue: str
    max_attempts: int
    idempotency_key: str | None = None
    body_digest: str | None = None


@dataclass(frozen=True)
class StoredEvent:
    """One event of a job."""

    id: int
    kind: str
    data: dict[str, Any]
    at: datetime


@dataclass(frozen=True)
class Series:
    """The values of one metric by step."""

    name: str
    steps: list[int]
    values: list[float]
    total: int
    """How many steps it was reported for; more than are listed where it was thinned out."""


async def submit(session: AsyncSession, new: NewJob, job_id: uuid.UUID, *, max_open: int) -> bool | None:
    """Insert the job: True; False where its idempotency key is taken; None where `max_open` are open already."""
    if await count_open_jobs(session, new.workspace, lock=True) >= max_open:
        return None
    made = await session.scalar(
        machine.SUBMIT,
        {
            "id": job_id,
            "workspace": new.workspace,
            "kind": new.spec.kind,
            "strategy": new.strategy,
            "spec": new.spec.model_dump_json(),
            "queue": new.queue,
            "idempotency_key": new.idempotency_key,
            "body_digest": new.body_digest,
            "max_attempts": new.max_attempts,
        },
    )
    return made is not None


async def count_open_jobs(session: AsyncSession, workspace: str, *, lock: bool = False) -> int:
    """How many jobs of a workspace wait or run; with `lock` no other is queued before the transaction's end."""
    if lock:
        await lock_workspace(session, workspace)
    query = select(func.count()).where(Job.workspace == workspace, Job.state.in_(OPEN))
    return await session.scalar(query) or 0


async def find_open(
    session: AsyncSession, workspace: str, kind: Kind, of: tuple[str, ...], value: str
) -> uuid.UUID | None:
    """An open job of that kind whose specification has the value at the place `of`."""
    query = select(Job.id).where(
        Job.workspace == workspace, Job.state.in_(OPEN), Job.kind == kind, Job.spec[of].astext == value
    )
    return await session.scalar(query.limit(1))


async def tell(session: AsyncSession, job_id: uuid.UUID, kind: str, data: dict[str, Any]) -> None:
    """Add an event; the same transaction has touched the job's row before."""
    await session.execute(machine.EVENT, {"id": job_id, "kind": kind, "data": json.dumps(data)})


async def cancel(session: AsyncSession, workspace: str, job_id: uuid.UUID) -> str | None:
    """Ask an open job to stop; the state it is in now, or None where there is no open one."""
    state: str | None = await session.scalar(machine.CANCEL, {"id": job_id, "workspace": workspace})
    return state


async def retry(session: AsyncSession, workspace: str, job_id: uuid.UUID) -> str | None:
    """Queue a failed or cancelled job again; its queue, or None where there is none such."""
    queue: str | None = await session.scalar(machine.RETRY, {"id": job_id, "workspace": workspace})
    return queue


async def find(session: AsyncSession, workspace: str, job_id: uuid.UUID) -> Job | None:
    """The job of that id in a workspace; None without one."""
    return await session.scalar(select(Job).where(Job.workspace == workspace, Job.id == job_id))


async def by_key(session: AsyncSession, workspace: str, key: str) -> Job | None:
    """The job that was submitted with an idempotency key."""
    return await session.scalar(select(Job).where(Job.workspace == workspace, Job.idempotency_key == key))


async def listing(
    session: AsyncSession,
    workspace: str,
    *,
    limit: int,
    states: Sequence[str] = (),
    before: tuple[datetime, uuid.UUID] | None = None,
) -> list[Job]:
    """The newest first, of these states if any are named, beginning after the job at `before`."""
    query = select(Job).where(Job.workspace == workspace).options(defer(Job.result))
    if states:
        query = query.where(Job.state.in_(states))
    if before is not None:
        query = query.where(tuple_(Job.created_at, Job.id) < before)
    return list(await session.scalars(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)))


async def load_events(
    session: AsyncSession, workspace: str, job_id: uuid.UUID, *, after: int, limit: int
) -> tuple[str, list[StoredEvent]] | None:
    """The job's state and its events after the one of that id, both of one moment; None without such a job."""
    rows = (
        await session.execute(
            select(Job.state, JobEvent.id, JobEvent.kind, JobEvent.data, JobEvent.at)
            .outerjoin(JobEvent, and_(JobEvent.job_id == Job.id, JobEvent.id > after))
            .where(Job.workspace == workspace, Job.id == job_id)
            .order_by(JobEvent.id)
            .limit(limit)
        )
    ).all()
    if not rows:
        return None
    return rows[0][0], [StoredEvent(*row[1:]) for row in rows if row[1] is not None]


async def has_told_all(session: AsyncSession, job_id: uuid.UUID, after: int) -> bool:
    """Whether a job has ended without an event after that id."""
    later = select(JobEvent.id).where(JobEvent.job_id == job_id, JobEvent.id > after).exists()
    ended = select(Job.id).where(Job.id == job_id, Job.state.in_(FINISHED), ~later)
    return await session.scalar(ended) is not None


async def metrics(session: AsyncSession, job_id: uuid.UUID, *, points: int) -> list[Series]:
    """Every metric by step, thinned out evenly to `points`, the first and the last step always among them.

    A step that an attempt repeated after a checkpoint counts as it was the last time.
    """
    rows = await session.execute(
        text(
            "WITH newest AS ("
            "SELECT DISTINCT ON (name, step) name, CAST(data->>'step' AS bigint) AS step, "
            "CAST(value AS float) AS value "
            "FROM job_events, jsonb_each_text(data->'values') AS one(name, value) "
            "WHERE job_id = :job AND kind = 'metric' ORDER BY name, step, id DESC"
            "), placed AS ("
            "SELECT *, row_number() OVER by_step - 1 AS place, count(*) OVER (PARTITION BY name) AS total "
            "FROM newest WINDOW by_step AS (PARTITION BY name ORDER BY step)"
            ") SELECT name, array_agg(step ORDER BY step), array_agg(value ORDER BY step), max(total) "
            "FROM placed WHERE total <= :points "
            # the first of each of `points - 1` equal stretches, and the last of all
            "OR place = total - 1 "
            "OR place * (:points - 1) / (total - 1) <> (place - 1) * (:points - 1) / (total - 1) OR place = 0 "
            "GROUP BY name ORDER BY name"
        ),
        {"job": job_id, "points": points},
    )
    return [Series(name, list(steps), list(values), total) for name, steps, values, total in rows]


async def artifacts(session: AsyncSession, workspace: str, job_id: uuid.UUID) -> list[Artifact]:
    """What a job left behind, by name."""
    query = select(Artifact).where(Artifact.workspace == workspace, Artifact.job_id == job_id)
    return list(await session.scalars(query.order_by(Artifact.name)))


def digest(body: dict[str, Any]) -> str:
    """Names a request's body, whatever the order of its members."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
