"""The tables of jobs, their events, and the models and files that they publish.

What may change them, and when, is `app.jobs.machine`'s.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Float, ForeignKey, Index, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base


class Job(Base):
    """A job; the row is the truth, a message about it only a hint."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("workspace", "idempotency_key"),
        Index("ix_jobs_open", "state", "lease", postgresql_where=text("state IN ('queued', 'running')")),
        Index("ix_jobs_workspace_created", "workspace", "created_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    workspace: Mapped[str] = mapped_column(ForeignKey("workspaces.name", ondelete="CASCADE"))
    kind: Mapped[str]
    """train, evaluate, export, prepare, reembed or teach."""
    strategy: Mapped[str | None]
    spec: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """`app.jobs.spec.JobSpec`, resolved: a worker needs nothing else to begin."""
    queue: Mapped[str]
    """cpu, gpu or multi-gpu: where the job fits."""
    idempotency_key: Mapped[str | None]
    body_digest: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default="queued")
    """queued, running, succeeded, failed or cancelled."""
    fence: Mapped[int] = mapped_column(server_default="0")
    """Grows with every claim and never shrinks; a worker with an older fence may write nothing."""
    attempt: Mapped[int] = mapped_column(server_default="0")
    """Attempts charged; one that a drain or a full disk ended is given back."""
    max_attempts: Mapped[int]
    lease: Mapped[datetime | None]
    """Until when the owner may write."""
    waits: Mapped[int] = mapped_column(server_default="0")
    """Times it was put off for want of room."""
    not_before: Mapped[datetime | None]
    """Until when it is put off; `error` says why."""
    cancel: Mapped[bool] = mapped_column(Boolean, server_default="false")
    published_at: Mapped[datetime | None]
    """When a message about it was last sent."""
    worker: Mapped[str | None]
    checkpoint: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """`app.jobs.spec.Checkpoint`: where the newest whole checkpoint lies."""
    phase: Mapped[str | None]
    """preparing, fitting, evaluating or saving."""
    step: Mapped[int] = mapped_column(server_default="0")
    of: Mapped[int] = mapped_column(server_default="0")
    eta_s: Mapped[float | None] = mapped_column(Float)
    metrics: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    """The newest value of each."""
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    model: Mapped[str | None]
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """{"code", "detail"} of the last failure."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobEvent(Base):
    """An event of a job: a state, its progress, a metric or a log line. Ids grow in the order of a job's events."""

    __tablename__ = "job_events"
    __table_args__ = (Index("ix_job_events_job", "job_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str]
    """state, progress, metric or log."""
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """state: {"state", "attempt"}, and {"error": {"code", "detail"}} of a failure; progress: {"step", "of", "eta_s",
    "phase"}; metric: {"step", "values": {name: number}}; log: {"line"}."""
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class Artifact(Base):
    """A file that a job left behind, in the file store under `key`."""

    __tablename__ = "artifacts"
    __table_args__ = (
        UniqueConstraint("workspace", "model", "name"),
        Index("ix_artifacts_job", "job_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    workspace: Mapped[str] = mapped_column(ForeignKey("workspaces.name", ondelete="CASCADE"))
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    model: Mapped[str | None]
    """The model it belongs to; null for what belongs to the job alone."""
    name: Mapped[str]
    """Relative path, `/` between folders."""
    key: Mapped[str]
    sha256: Mapped[str] = mapped_column(Text)
    size: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
