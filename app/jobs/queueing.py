"""Tells workers of jobs: one message with the job's id, by the task's name.

A message is a hint, so one that cannot be sent is no error.
"""

from __future__ import annotations

import threading
import uuid
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import structlog
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from celery import Celery

RUN_JOB: Final = "vision.run_job"
KEYS: Final = "vision:jobs:"
"""Before every key of a queue, so that none meets the cache that shares the database."""
_TIMEOUT_SECONDS = 2.0

log = structlog.get_logger("app.jobs")


def broker_url(redis_url: str) -> str:
    """A URL as redis-py reads it, as Celery reads it: `unix://` is `redis+socket://` there."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    database = parse_qs(parts.query).get("db", ["0"])[0]
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"redis+socket://{login}{parts.path}?virtual_host={database}"


def broker_options(timeout_s: float) -> dict[str, Any]:
    """Celery's transport options, the same for producers and consumers except for their timeouts."""
    return {
        "global_keyprefix": KEYS,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
    }


class JobQueue:
    """Sends messages; safe to share between threads."""

    def __init__(self, redis_url: str, *, asked: threading.Event | None = None) -> None:
        """`asked` is set with the first message, sent or not."""
        self._asked = asked
        self._redis_url = redis_url

    def publish(self, job_id: uuid.UUID, queue: str) -> bool:
        """Tell the workers of `queue` of a job; False where the broker is away. Blocks for seconds at most."""
        if self._asked is not None:
            self._asked.set()
        from kombu.exceptions import OperationalError

        try:
            self._celery.send_task(RUN_JOB, args=[str(job_id)], queue=queue, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("the broker is away", reason=type(error).__name__)
            return False
        return True

    def waiting(self, queue: str) -> int | None:
        """How many messages no worker has taken yet; None where the broker is away."""
        from kombu.exceptions import OperationalError

        try:
            with self._celery.pool.acquire(block=True) as connection:
                return int(connection.default_channel.queue_declare(queue).message_count)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("the broker is away", reason=type(error).__name__)
            return None

    @cached_property
    def _celery(self) -> Celery:
        """Made when it is first needed: a service that nobody asks for a job never imports Celery."""
        from celery import Celery

        sender = Celery("vision", broker=broker_url(self._redis_url), set_as_current=False)
        sender.conf.update(
            task_ignore_result=True,
            broker_transport_options=broker_options(_TIMEOUT_SECONDS) | {"max_retries": 0},
        )
        return sender
