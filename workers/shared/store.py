"""A worker's side of the job table: claims, and writes that hold only while the claim does.

All methods block; each is one transaction.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, TextClause, create_engine, event, text, update
from sqlalchemy.dialects.postgresql import insert

from app.datasets.tables import Dataset
from app.jobs import machine
from app.jobs.spec import Checkpoint, JobSpec, Outcome
from app.jobs.tables import Artifact
from app.models.tables import TrainedModel
from app.storage.database import NETWORK, driver_url

_MAX_NAMES = 1_000
_MAX_IDLE_MS = 2**31 - 1
"""As PostgreSQL takes it."""
_UNREADABLE = (
    "This worker cannot read what the job asks for: it may come from another version of the service."
)


class LostError(Exception):
    """The lease is lost: another worker may own the job, and results of this attempt are discarded."""


@dataclass(frozen=True)
class LeasedJob:
    """A job that this worker owns while it renews the lease."""

    id: uuid.UUID
    fence: int
    attempt: int
    max_attempts: int
    workspace: str
    spec: JobSpec
    checkpoint: Checkpoint | None
    strategy: str | None = None


def worker_engine(url: str, *, idle_s: float | None = None) -> Engine:
    """An engine for processes that hold few connections for long; one that broke is replaced unnoticed.

    With `idle_s` the database ends transactions of which it heard nothing for so many seconds: those of a process that
    was suspended would keep a job's row locked, and no other worker could take the job over.
    """
    engine = create_engine(
        driver_url(url),
        pool_size=1,
        max_overflow=4,
        pool_pre_ping=True,
        connect_args=NETWORK,
    )
    if idle_s is not None:
        limit = f"SET idle_in_transaction_session_timeout = {min(max(1, round(idle_s * 1000)), _MAX_IDLE_MS)}"

        @event.listens_for(engine, "connect")
        def set_limit(connection: Any, _: object) -> None:
            connection.execute(limit)
            connection.commit()

    return engine


class JobStore:
    """Claims jobs."""

    def __init__(
        self, engine: Engine, *, lease_s: float, log_lines: int, wait_s: float = 30.0, waits: int = 100
    ) -> None:
        """`wait_s` and `waits` are how a job is put off: `job_wait_s` and `job_waits` of the settings."""
        self.engine = engine
        self.lease_s = lease_s
        self.log_lines = log_lines
        self.wait = {"wait_s": wait_s, "waits": waits}

    def claim(self, job_id: uuid.UUID, worker: str) -> OwnedJob | None:
        """Lease the job to this worker. None where it is done, cancelled or owned by another worker, or where it cannot
        be read: it is then queued again for a worker that can read it, and the attempt counts.
        """
        with self.engine.begin() as connection:
            row = connection.execute(
                machine.CLAIM, {"id": job_id, "worker": worker, "lease_s": self.lease_s}
            ).one_or_none()
            if row is None:
                return None
            _tell(connection, job_id, "state", {"state": "running", "attempt": row.attempt, "worker": worker})
            try:
                claimed = _read(job_id, row)
            except ValidationError:
                error = {"code": "spec_unreadable", "detail": _UNREADABLE}
                values = {"id": job_id, "fence": row.fence, "error": _json(error)}
                connection.execute(machine.CRASH, values)
                _tell(connection, job_id, "state", {"state": "queued", "error": error})
                return None
        return OwnedJob(self, claimed)


class OwnedJob:
    """What the owner of a job may write; every method raises LostError where it is the owner no more."""

    def __init__(self, store: JobStore, claimed: LeasedJob) -> None:
        self.job = claimed
        self._store, self._engine = store, store.engine
        self._progress_event: int | None = None
        """The id of the last progress event."""

    def renew(self) -> bool:
        """Own it for another lease; whether cancelling was asked for."""
        with self._engine.begin() as connection:
            return bool(self._mine(connection, machine.RENEW, lease_s=self._store.lease_s).cancel)

    def cancel_asked(self) -> bool:
        """Whether cancelling was asked for."""
        with self._engine.begin() as connection:
            return bool(self._mine(connection, machine.LOOK).cancel)

    def report(
        self,
        *,
        phase: str | None = None,
        step: int | None = None,
        of: int | None = None,
        eta_s: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Progress, and metrics as of `step`."""
        values = {name: value for name, value in (metrics or {}).items() if math.isfinite(value)}
        with self._engine.begin() as connection:
            row = self._mine(
                connection,
                machine.REPORT,
                phase=phase,
                step=step,
                of=of,
                eta_s=eta_s,
                metrics=_json(values),
            )
            progress = {"phase": row.phase, "step": row.step, "of": row.of, "eta_s": eta_s}
            event_id: int = connection.execute(
                machine.PROGRESS, {"id": self.job.id, "before": self._progress_event, "data": _json(progress)}
            ).scalar_one()
            if values:
                _tell(connection, self.job.id, "metric", {"step": row.step, "values": values})
        self._progress_event = event_id

    def log(self, lines: list[str]) -> None:
        """Lines for the job's log; beyond the cap they are dropped, and that is said once."""
        with self._engine.begin() as connection:
            self._mine(connection, machine.HOLD)
            count = connection.execute(
                text("SELECT count(*) FROM job_events WHERE job_id = :id AND kind = 'log'"),
                {"id": self.job.id},
            ).scalar_one()
            room = self._store.log_lines - count
            for line in lines[: max(room, 0)]:
                _tell(connection, self.job.id, "log", {"line": line})
            if 0 <= room < len(lines):
                dropped = f"Further lines are dropped: a job keeps {self._store.log_lines}."
                _tell(connection, self.job.id, "log", {"line": dropped})

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Where the next attempt goes on from."""
        with self._engine.begin() as connection:
            self._mine(connection, machine.CHECKPOINT, checkpoint=checkpoint.model_dump_json())

    def succeed(self, outcome: Outcome) -> None:
        """Publish what the attempt made, and end the job, in one transaction."""
        claimed = self.job
        with self._engine.begin() as connection:
            name = None if outcome.card is None else self._free_name(connection, outcome.card.id)
            self._mine(
                connection,
                machine.SUCCEED,
                metrics=_json(outcome.metrics),
                result=_json(outcome.result),
                model=name,
            )
            if outcome.card is not None and name is not None:
                card = outcome.card.model_copy(update={"id": name})
                connection.execute(
                    insert(TrainedModel).values(
                        workspace=claimed.workspace,
                        id=name,
                        job_id=claimed.id,
                        card=storable(card.model_dump()),
                    )
                )
            self._keep_files(connection, outcome, name or outcome.model)
            if outcome.dataset is not None:
                connection.execute(
                    update(Dataset)
                    .where(Dataset.id == outcome.dataset.id, Dataset.workspace == claimed.workspace)
                    .values(state="ready", **storable(outcome.dataset.model_dump(exclude={"id"})))
                )
            _tell(connection, claimed.id, "state", {"state": "succeeded", "model": name})

    def fail(self, code: str, detail: str) -> None:
        """End the job: the work itself failed."""
        self._end(machine.FAIL, "failed", code, detail)

    def crash(self, code: str, detail: str) -> None:
        """Give the job back: its process died. The attempt stays charged."""
        self._end(machine.CRASH, "queued", code, detail)

    def release(self) -> None:
        """Give the job back: this worker stops. The attempt is not charged."""
        with self._engine.begin() as connection:
            self._mine(connection, machine.RELEASE)
            _tell(connection, self.job.id, "state", {"state": "queued", "why": "its worker stops"})

    def postpone(self, code: str, detail: str) -> None:
        """Give the job back for want of room: nobody claims it for a while. The attempt is not charged, unless that
        happened too often.
        """
        error = {"code": code, "detail": detail}
        with self._engine.begin() as connection:
            row = self._mine(connection, machine.POSTPONE, error=_json(error), **self._store.wait)
            until = row.not_before.astimezone(UTC).isoformat(timespec="seconds")
            line = f"{detail} The job waits until {until}, then goes on from its last checkpoint."
            _tell(connection, self.job.id, "log", {"line": line})
            _tell(connection, self.job.id, "state", {"state": "queued", "error": error, "not_before": until})

    def stop(self) -> None:
        """End the job as cancelled; LostError where that was not asked for."""
        with self._engine.begin() as connection:
            self._mine(connection, machine.STOP)
            _tell(connection, self.job.id, "state", {"state": "cancelled"})

    def _end(self, statement: TextClause, state: str, code: str, detail: str) -> None:
        error = {"code": code, "detail": detail}
        with self._engine.begin() as connection:
            self._mine(connection, statement, error=_json(error))
            _tell(connection, self.job.id, "state", {"state": state, "error": error})

    def _mine(self, connection: Connection, statement: TextClause, **values: Any) -> Any:
        row = connection.execute(
            statement, {"id": self.job.id, "fence": self.job.fence, **values}
        ).one_or_none()
        if row is None:
            raise LostError
        return row

    def _free_name(self, connection: Connection, wanted: str) -> str:
        """`wanted`, or with the next free number behind it; the workspace's row keeps two from taking one."""
        workspace = self.job.workspace
        connection.execute(
            text("SELECT name FROM workspaces WHERE name = :workspace FOR NO KEY UPDATE"),
            {"workspace": workspace},
        )
        taken = set(
            connection.execute(
                text("SELECT id FROM trained_models WHERE workspace = :workspace"), {"workspace": workspace}
            ).scalars()
        )
        names = [wanted, *(f"{wanted}-{number}" for number in range(2, _MAX_NAMES))]
        return next(name for name in names if name not in taken)

    def _keep_files(self, connection: Connection, outcome: Outcome, model: str | None) -> None:
        for file in outcome.artifacts:
            row = {
                "workspace": self.job.workspace,
                "job_id": self.job.id,
                "model": model,
                "name": file.name,
                "key": file.key,
                "sha256": file.sha256,
                "size": file.size,
            }
            newer = {key: row[key] for key in ("job_id", "key", "sha256", "size")}
            connection.execute(
                insert(Artifact)
                .values(**row)
                .on_conflict_do_update(index_elements=["workspace", "model", "name"], set_=newer)
            )


def _read(job_id: uuid.UUID, row: Any) -> LeasedJob:
    return LeasedJob(
        job_id,
        row.fence,
        row.attempt,
        row.max_attempts,
        row.workspace,
        JobSpec.model_validate(row.spec),
        None if row.checkpoint is None else Checkpoint.model_validate(row.checkpoint),
        row.strategy,
    )


def _tell(connection: Connection, job_id: uuid.UUID, kind: str, data: dict[str, Any]) -> None:
    connection.execute(machine.EVENT, {"id": job_id, "kind": kind, "data": _json(data)})


def _json(value: Any) -> str:
    return json.dumps(storable(value))


def storable(value: Any) -> Any:
    """`value` as PostgreSQL takes it: null for what is no number, no NUL characters, no half characters."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.replace("\0", "").encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {storable(key): storable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [storable(entry) for entry in value]
    return value
