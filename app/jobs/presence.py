"""Which queues workers listen to: a key a queue in Redis, set again and again, and gone soon after its last worker.

Where Redis is away nobody knows, which is another answer than nobody listens.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Sequence

import redis
import structlog
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

_KEY = "vision:workers:"
_TIMEOUT_SECONDS = 2.0

log = structlog.get_logger("app.jobs")


def announce(
    redis_url: str, queues: Collection[str], *, every_s: float, for_s: float, until: threading.Event
) -> None:
    """In a worker's thread: say that it listens to `queues`, until asked to stop; each time holds `for_s` seconds."""
    client = _client(redis_url)
    with client:
        while not until.is_set():
            try:
                for queue in queues:
                    client.set(_KEY + queue, "1", ex=math.ceil(for_s))
            except (RedisError, OSError) as error:
                log.warning("the broker is away", reason=type(error).__name__)
            until.wait(every_s)


def find_unserved(redis_url: str, queues: Sequence[str]) -> set[str]:
    """Those that no worker listens to; none where Redis is away."""
    if not queues:
        return set()
    try:
        with _client(redis_url) as client:
            found = client.mget([_KEY + queue for queue in queues])
    except (RedisError, OSError):
        return set()
    return {queue for queue, reply in zip(queues, found, strict=True) if reply is None}


async def is_served(client: AsyncRedis, queue: str) -> bool | None:
    """Whether a worker listens to the queue; None where Redis is away."""
    try:
        return bool(await client.exists(_KEY + queue))
    except (RedisError, OSError):
        return None


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS)
