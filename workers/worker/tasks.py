"""What messages ask for: run a job, sweep or tidy. All are done elsewhere; a task only calls."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any, Final

import structlog
from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from app.embedded import Addresses
from app.errors import VisionError
from app.jobs.queueing import RUN_JOB, JobQueue
from app.settings import Settings
from workers.worker.supervisor import supervise
from workers.worker.sweeper import Sweeper

SWEEP: Final = "vision.sweep"
TIDY: Final = "vision.tidy"

log = structlog.get_logger("workers")


def add_tasks(
    app: Celery, settings: Settings, addresses: Addresses | None, draining: threading.Event
) -> None:
    """Teach a Celery application its tasks. Without addresses it can ask for them, not do them."""
    if addresses is None:
        return
    sweeper = Sweeper(settings, addresses)
    queue = JobQueue(addresses.redis_url)

    def run_job(task: Any, job_id: str) -> None:
        came_by = str(task.request.delivery_info["routing_key"])

        def republish(job: uuid.UUID) -> None:
            queue.publish(job, came_by)

        supervise(uuid.UUID(job_id), settings, addresses, draining, republish=republish)

    def looking(look: Callable[[], None]) -> Callable[[], None]:
        def task() -> None:
            try:
                look()
            except (SQLAlchemyError, VisionError, OSError) as error:
                log.warning("jobs could not be looked after", reason=type(error).__name__)

        return task

    app.task(run_job, name=RUN_JOB, bind=True)
    app.task(looking(sweeper.sweep), name=SWEEP)
    app.task(looking(sweeper.tidy), name=TIDY)
