"""A Redis client that costs little when Redis is away: after one failed try, the next seconds fail at once."""

from __future__ import annotations

import time
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

TIMEOUT_SECONDS = 1.0
"""A cache that does not answer by then is worth less than none."""
REST_SECONDS = 2.0
"""How long nobody tries again after a failure; requests would each wait for the timeout otherwise."""


def connect(url: str) -> Redis:
    """A client for `url`; nothing is connected before the first command. Close it with `aclose`."""
    pool = _RestingPool.from_url(
        url,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 1),  # one more try is for connections that a restart of Redis has cut
    )
    return Redis.from_pool(pool)


class _RestingPool(ConnectionPool):
    _rests_until = 0.0

    async def get_connection(self, *args: Any, **kwargs: Any) -> AbstractConnection:
        if time.monotonic() < self._rests_until:
            raise RedisConnectionError("Redis did not answer a moment ago.")
        try:
            connection: AbstractConnection = await super().get_connection(*args, **kwargs)  # type: ignore[no-untyped-call]
        except (RedisError, OSError):
            self._rests_until = time.monotonic() + REST_SECONDS
            raise
        return connection
