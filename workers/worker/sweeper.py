"""Looks after what no worker looks after: jobs that were cancelled, used up, forgotten or dropped, and their files."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
from sqlalchemy import Connection, text

from app.embedded import Addresses
from app.jobs import machine
from app.jobs.presence import find_unserved
from app.jobs.queueing import JobQueue
from app.settings import Settings
from app.storage.database import sync_engine
from app.storage.files import FileStore

SWEEP_LOCK: Final = 0x6C66_7669_7377_6570
"""Advisory lock (the letters lfviswep) that one sweep at a time holds."""
TIDY_LOCK: Final = SWEEP_LOCK + 1
_MAX_WAITING = 100
"""A queue this long is left alone: while nobody is free to work, more messages tell nobody anything."""
_MAX_FORGOTTEN = 10_000
_DAY_SECONDS = 86_400.0
_SETTLED_SECONDS = 2 * _DAY_SECONDS

log = structlog.get_logger("workers.sweeper")


class Sweeper:
    """Sweeps; one instance serves all threads of a process."""

    def __init__(self, settings: Settings, addresses: Addresses) -> None:
        """Nothing is opened before the first sweep."""
        self._settings = settings
        self._engine = sync_engine(addresses.database_url)
        self._queue = JobQueue(addresses.redis_url)
        self._redis_url = addresses.redis_url
        self._keep_s = settings.jobs.job_checkpoint_days * _DAY_SECONDS
        self._unserved: set[str] = set()
        """Queues that no worker listened to at the last sweep."""

    def sweep(self) -> None:
        """End what is cancelled or out of attempts, tell workers of what waits, and say where there are none; nothing
        while another sweeps.

        Raises SQLAlchemyError where the database is away.
        """
        with self._hold_lock(SWEEP_LOCK) as connection:
            if connection is None:
                return
            self._end(connection)
            connection.commit()
            used = self._find_used_queues(connection)
            published = self._stale(connection, used)
            connection.commit()
            self._say_unserved(connection, used)
            connection.commit()
            for job in published:
                self._queue.publish(job.id, job.queue)
        if published:
            log.info("published waiting jobs to workers", jobs=len(published))

    def tidy(self) -> None:
        """Remove files that no job or model needs: of attempts that lost their job, and of jobs that ended.

        Raises SQLAlchemyError, StoreUnavailableError where a store is away.
        """
        with self._hold_lock(TIDY_LOCK) as connection:
            if connection is None:
                return
            connection.execute(machine.FORGET_CHECKPOINTS, {"keep_s": self._keep_s})
            connection.commit()
            self._forget_events(connection)
            files = FileStore.from_settings(self._settings)
            names = files.children("jobs")
            settled = self._find_settled(connection)
            for name in names:
                if name in settled:
                    continue
                # what is listed before the row is read is older than the row
                found = files.children(f"jobs/{name}")
                dead = list(self._dead(connection, files, name, found))
                connection.commit()  # a look at all files may take long
                for key in dead:
                    files.delete(key)

    def _forget_events(self, connection: Connection) -> None:
        wanted = {"keep_s": self._settings.jobs.job_history_days * _DAY_SECONDS, "limit": _MAX_FORGOTTEN}
        while len(connection.execute(machine.FORGET_EVENTS, wanted).all()) == _MAX_FORGOTTEN:
            connection.commit()
        connection.commit()

    def _find_settled(self, connection: Connection) -> set[str]:
        """Jobs that ended so long ago that all was looked at since."""
        rows = connection.execute(
            text("SELECT id FROM jobs WHERE finished_at < now() - make_interval(secs => :settled_s)"),
            {"settled_s": self._keep_s + _SETTLED_SECONDS},
        )
        return {str(job) for job in rows.scalars()}

    def _end(self, connection: Connection) -> None:
        for job in connection.execute(machine.SWEEP_CANCELLED).all():
            _tell(connection, job.id, {"state": "cancelled"})
        for job in connection.execute(machine.SWEEP_EXHAUSTED).all():
            log.warning("gave a job up", job=str(job.id))
            _tell(connection, job.id, {"state": "failed", "error": job.error})

    def _find_used_queues(self, connection: Connection) -> list[str]:
        """Queues with jobs that are not done."""
        query = text("SELECT DISTINCT queue FROM jobs WHERE state IN ('queued', 'running')")
        return list(connection.execute(query).scalars())

    def _say_unserved(self, connection: Connection, used: list[str]) -> None:
        """In the log of a job that waits for a worker that is not there; those that have just started are not yet."""
        before, self._unserved = self._unserved, find_unserved(self._redis_url, used)
        for queue in before & self._unserved:
            line = (
                f"No worker listens to the queue '{queue}': the job waits until one does (docs/scaling.md)."
            )
            wanted = {
                "queue": queue,
                "line": line,
                "stale_s": self._settings.jobs.job_sweep_s,
                "limit": _MAX_WAITING,
            }
            for job in connection.execute(machine.UNSERVED, wanted).all():
                connection.execute(
                    machine.EVENT, {"id": job.id, "kind": "log", "data": json.dumps({"line": line})}
                )

    def _stale(self, connection: Connection, used: list[str]) -> list[Any]:
        """Jobs to publish to workers, marked as published."""
        waiting = {queue: self._queue.waiting(queue) for queue in used}
        short = [queue for queue, count in waiting.items() if count is not None and count < _MAX_WAITING]
        return list(
            connection.execute(
                machine.SWEEP_STALE,
                {"queues": short, "stale_s": self._settings.jobs.job_sweep_s, "limit": _MAX_WAITING},
            )
        )

    def _dead(self, connection: Connection, files: FileStore, name: str, found: list[str]) -> Iterator[str]:
        """Keys below one job's folder that nobody needs; none for what is no job of this database."""
        try:
            job_id = uuid.UUID(name)
        except ValueError:
            return
        job = connection.execute(
            text(
                "SELECT state, fence, checkpoint, COALESCE(finished_at > now() - make_interval(secs => :keep_s), true)"
                " AS fresh FROM jobs WHERE id = :id"
            ),
            {"id": job_id, "keep_s": self._keep_s},
        ).one_or_none()
        if job is None:
            return
        folder = f"jobs/{name}"
        published = set(
            connection.execute(
                text("SELECT DISTINCT split_part(key, '/', 3) FROM artifacts WHERE key LIKE :folder"),
                {"folder": f"{folder}/%"},
            ).scalars()
        )
        resumed = {str(job.checkpoint["fence"])} if job.checkpoint else set()
        running = job.state in {"queued", "running"}
        for entry in found:
            if entry in resumed or (running and (not entry.isdigit() or int(entry) >= job.fence)):
                continue
            if entry in published:
                if "checkpoints" in files.children(f"{folder}/{entry}"):
                    yield f"{folder}/{entry}/checkpoints"
            elif entry.isdigit() or job.state == "succeeded" or not job.fresh:
                yield f"{folder}/{entry}"

    @contextmanager
    def _hold_lock(self, lock: int) -> Iterator[Connection | None]:
        """A connection that holds the lock for a block, committed after it; None where another holds it."""
        with self._engine.connect() as connection:
            taken = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": lock}).scalar_one()
            connection.commit()
            if not taken:
                yield None
                return
            try:
                yield connection
                connection.commit()
            finally:
                connection.rollback()
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": lock})
                connection.commit()


def _tell(connection: Connection, job_id: uuid.UUID, data: dict[str, Any]) -> None:
    connection.execute(machine.EVENT, {"id": job_id, "kind": "state", "data": json.dumps(data)})
