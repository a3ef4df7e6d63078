"""A node that lends its ranks to a job that runs on several: `python -m workers.join JOB`, on every node but the first.

It starts again with each attempt of the owner's, and leaves when the job has ended. Without the database its ranks
go on for as long as the last lease that was seen.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import uuid
from typing import Any

import structlog
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from app.embedded import Addresses
from app.jobs.spec import Checkpoint, JobSpec
from app.observability.logs import configure
from app.settings import Settings
from workers.shared.run import Task
from workers.shared.store import LeasedJob, worker_engine
from workers.worker import launching, liveness
from workers.worker.lines import Lines

log = structlog.get_logger("workers.join")

_OPEN = ("queued", "running")
_LOOK_SECONDS = 1.0


def join(job_id: uuid.UUID, settings: Settings, addresses: Addresses) -> int:
    """Take part in every attempt of the job until it has ended; 0 when it succeeded, 1 otherwise."""
    engine = worker_engine(addresses.database_url)
    launching.clear(settings)
    try:
        while True:
            try:
                row = _row(engine, job_id)
            except SQLAlchemyError as error:
                _warn_unreachable(error)
            else:
                if row is None or row.state not in _OPEN:
                    return 0 if row is not None and row.state == "succeeded" else 1
                if row.state == "running" and row.leased:
                    _take_part(engine, row, settings, addresses)
            time.sleep(_LOOK_SECONDS)
    finally:
        engine.dispose()


def _take_part(engine: Engine, row: Any, settings: Settings, addresses: Addresses) -> None:
    """Start this node's ranks and keep them alive for as long as the same owner's lease is renewed."""
    spec = JobSpec.model_validate(row.spec)
    checkpoint = None if row.checkpoint is None else Checkpoint.model_validate(row.checkpoint)
    job = LeasedJob(
        row.id, row.fence, row.attempt, row.max_attempts, row.workspace, spec, checkpoint, row.strategy
    )
    # another's than the owner's, which may work on the same disk
    folder = launching.folder_of(job, settings).with_name(f"{job.id}-{job.fence}-joined-{os.getpid()}")
    folder.mkdir(parents=True, mode=0o700)
    heartbeat = folder / launching.HEARTBEAT
    liveness.beat(heartbeat)
    task = Task(
        job=job.id,
        workspace=job.workspace,
        fence=job.fence,
        attempt=job.attempt,
        strategy=job.strategy,
        spec=spec,
        checkpoint=checkpoint,
        events=str(folder / "events"),  # rank 0 alone tells, and it is on the first node
        heartbeat=str(heartbeat),
        scratch=str(folder),
    )
    file = folder / "task.json"
    file.write_text(task.model_dump_json())
    child, output = launching.start(job, settings, addresses, file)
    printed = Lines(output.fileno(), printed=True)
    try:
        while child.poll() is None:
            for line in printed.read():  # or a full pipe would stop the ranks
                log.info("a rank said", job=str(job.id), line=line.decode(errors="replace"))
            try:
                now = _row(engine, job.id)
            except SQLAlchemyError as error:
                _warn_unreachable(error)
            else:
                if now is None or now.fence != job.fence or now.state != "running":
                    return
                if now.leased:
                    liveness.beat(heartbeat)
            time.sleep(_LOOK_SECONDS)
    finally:
        launching.kill(child)
        output.close()
        shutil.rmtree(folder, ignore_errors=True)


def _warn_unreachable(error: SQLAlchemyError) -> None:
    log.warning("the database is away", reason=type(error).__name__)


def _row(engine: Engine, job_id: uuid.UUID) -> Any:
    with engine.connect() as connection:
        return connection.execute(
            text(
                "SELECT id, workspace, strategy, spec, state, fence, attempt, max_attempts, checkpoint, "
                "lease > now() AS leased FROM jobs WHERE id = :id"
            ),
            {"id": job_id},
        ).one_or_none()


def main() -> int:
    """Run `python -m workers.join JOB`: take part in a job that runs on several nodes."""
    settings = Settings()
    configure(settings)
    if len(sys.argv) != 2 or not settings.server.database_url:
        sys.stderr.write("Usage: VISION_DATABASE_URL=... VISION_BLOB_URL=... python -m workers.join JOB\n")
        return 2
    return join(
        uuid.UUID(sys.argv[1]),
        settings,
        Addresses(settings.server.database_url, settings.server.redis_url or ""),
    )


if __name__ == "__main__":
    sys.exit(main())
