"""Embeddings by image hash and encoder, kept in Redis for requests with the same bytes.

Goes on without Redis, as if nothing had been remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis
from redis.exceptions import RedisError

Vector = NDArray[np.float32]


class EmbeddingCache:
    """Vectors as little-endian float32 under `vision:embedding:<encoder key>:<sha-256 of the bytes>`."""

    def __init__(self, redis: Redis, *, ttl_s: int, enabled: bool) -> None:
        self._redis = redis
        self._ttl_s = ttl_s
        self.enabled = enabled

    async def get(self, key: str, hashes: Sequence[str], dim: int) -> list[Vector | None]:
        """For each hash its float32[dim], or None."""
        nothing: list[Vector | None] = [None] * len(hashes)
        if not self.enabled or not hashes:
            return nothing
        try:
            found: list[Any] = await self._redis.mget([_name(key, sha256) for sha256 in hashes])
        except (RedisError, OSError):
            return nothing
        whole = 4 * dim
        return [
            np.frombuffer(data, "<f4") if data is not None and len(data) == whole else None for data in found
        ]

    async def put(self, key: str, vectors: Mapping[str, Vector]) -> None:
        """Remember vectors by hash."""
        if not self.enabled or not vectors:
            return
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for sha256, vector in vectors.items():
                    pipeline.set(_name(key, sha256), vector.astype("<f4").tobytes(), ex=self._ttl_s)
                await pipeline.execute()
        except (RedisError, OSError):
            return


def _name(key: str, sha256: str) -> str:
    return f"vision:embedding:{key}:{sha256}"
