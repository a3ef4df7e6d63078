"""The Celery application: what a worker listens to, how it takes messages, and how it stops.

Neither a worker nor the sweeper imports torch: they only watch over the processes that do.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import Any

from celery import Celery, signals
from celery.beat import EmbeddedService
from kombu.exceptions import OperationalError

from app.embedded import Addresses
from app.jobs.presence import announce
from app.jobs.queueing import broker_options, broker_url
from app.observability.logs import configure
from app.settings import Settings
from workers.worker.tasks import SWEEP, TIDY, add_tasks

SWEEP_QUEUE = "sweep"
_BROKER_TIMEOUT_SECONDS = 10.0
_LEAVE_SECONDS = 5.0
"""How much longer than a job's grace a worker that stops may take."""


def make_app(settings: Settings) -> Celery:
    """The application, for workers and for processes that start them; opens no connection.

    A process that listens to the queue `sweep` also runs the beat, in a thread: any number of them may, since a
    sweep is exclusive and one that comes late expires.
    """
    draining = threading.Event()
    app = Celery("vision", set_as_current=False)
    app.conf.update(
        broker_url=broker_url(settings.server.redis_url) if settings.server.redis_url else None,
        broker_transport_options=broker_options(_BROKER_TIMEOUT_SECONDS),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_default_queue="cpu",
        task_acks_late=False,
        task_publish_retry=False,
        worker_pool="threads",
        worker_concurrency=settings.jobs.job_slots,
        worker_prefetch_multiplier=1,
        # or a long job's worker would hold a message that another one could take
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # entries are due again after one period whatever was before: there is nothing to keep in a file
        beat_scheduler="celery.beat:Scheduler",
        beat_max_loop_interval=settings.jobs.job_sweep_s,
        beat_schedule={
            SWEEP: _schedule_every(settings.jobs.job_sweep_s, SWEEP),
            TIDY: _schedule_every(settings.jobs.job_tidy_s, TIDY),
        },
    )
    add_tasks(app, settings, _addresses(settings), draining)
    _listen(app, settings, draining)
    return app


def _schedule_every(period_s: float, task: str) -> dict[str, Any]:
    return {"task": task, "schedule": period_s, "options": {"queue": SWEEP_QUEUE, "expires": period_s}}


def _addresses(settings: Settings) -> Addresses | None:
    if settings.server.database_url and settings.server.redis_url:
        return Addresses(settings.server.database_url, settings.server.redis_url)
    return None


def _listen(app: Celery, settings: Settings, draining: threading.Event) -> None:
    """Take part in a worker's life; the receivers live as long as the application."""

    def check(**_: Any) -> None:
        if app.conf.broker_url is None or settings.server.database_url is None:
            sys.exit("A worker needs VISION_DATABASE_URL and VISION_REDIS_URL: there it meets the service.")

    def log(**_: Any) -> None:
        configure(settings)

    def ready(**_: Any) -> None:
        queues = set(app.amqp.queues.consume_from)
        if works := queues - {SWEEP_QUEUE}:
            options = {
                "every_s": settings.jobs.job_heartbeat_s,
                "for_s": settings.jobs.job_lease_s,
                "until": draining,
            }
            threading.Thread(
                target=announce, args=(settings.server.redis_url, works), kwargs=options, daemon=True
            ).start()
        if SWEEP_QUEUE in queues:
            EmbeddedService(app, thread=True, scheduler_cls=app.conf.beat_scheduler).start()
            for task in (SWEEP, TIDY):
                # what waited for this worker need not wait for a period's end; a broker away is asked again then
                with suppress(OperationalError):
                    app.send_task(task, queue=SWEEP_QUEUE)

    def stopping(**_: Any) -> None:
        draining.set()
        # a thread that hangs must not hold the process for ever
        timer = threading.Timer(settings.jobs.job_stop_grace_s + _LEAVE_SECONDS, os._exit, [1])
        timer.daemon = True
        timer.start()

    for signal, receiver in (
        (signals.celeryd_init, check),
        (signals.beat_init, check),
        (signals.setup_logging, log),
        (signals.worker_ready, ready),
        (signals.worker_shutting_down, stopping),
    ):
        signal.connect(receiver, weak=False)
