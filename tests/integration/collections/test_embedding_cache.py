"""Embeddings remembered in Redis: by image and encoder, for a while, and never worth a failure."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest_asyncio
from redis.asyncio import Redis

from app.collections.cache import EmbeddingCache
from app.storage.resting_redis import connect

ONE, OTHER = "lite@0123456789abcdef", "lite@fedcba9876543210"
VECTOR = np.arange(4, dtype=np.float32)


@pytest_asyncio.fixture(loop_scope="session")
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


async def test_what_is_put_is_found_for_its_encoder_alone(redis: Redis) -> None:
    cache = EmbeddingCache(redis, ttl_s=60, enabled=True)
    await cache.put(ONE, {"a": VECTOR, "b": VECTOR + 1})
    found = await cache.get(ONE, ["b", "c", "a"], 4)
    assert found[1] is None
    assert [None if vector is None else vector.tolist() for vector in found] == [
        [1, 2, 3, 4],
        None,
        [0, 1, 2, 3],
    ]
    assert await cache.get(OTHER, ["a"], 4) == [None]
    assert await cache.get(ONE, ["a"], 5) == [None]
    assert await cache.get(ONE, [], 4) == []


async def test_it_is_forgotten_in_time(redis: Redis) -> None:
    await EmbeddingCache(redis, ttl_s=60, enabled=True).put(ONE, {"a": VECTOR})
    (key,) = await redis.keys("*")
    assert 0 < await redis.ttl(key) <= 60


async def test_switched_off_it_keeps_nothing(redis: Redis) -> None:
    cache = EmbeddingCache(redis, ttl_s=60, enabled=False)
    await cache.put(ONE, {"a": VECTOR})
    assert await redis.keys("*") == []
    assert await cache.get(ONE, ["a"], 4) == [None]


async def test_without_redis_nothing_is_known_and_nothing_fails() -> None:
    away = connect("redis://127.0.0.1:1/0")
    cache = EmbeddingCache(away, ttl_s=60, enabled=True)
    await cache.put(ONE, {"a": VECTOR})
    assert await cache.get(ONE, ["a"], 4) == [None]
    await away.aclose()
