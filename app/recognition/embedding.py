"""From uploaded bytes to vectors: hashed, looked up, decoded in the pool, embedded, remembered.

Knows images, encoders and the cache; knows nothing of collections or labels.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app import images
from app.errors import ImageTooLargeError, InvalidImageError
from app.images import ImageLimits
from app.inference.live import LiveEncoder
from app.observability.metrics import Metrics
from app.recognition.cache import EmbeddingCache
from app.spool import IN_MEMORY_BYTES, Entry


@dataclass(frozen=True)
class Embedded:
    """Vectors float32[n, d] in the order of the images, and where the time went in milliseconds."""

    vectors: NDArray[np.float32]
    decode_ms: float
    embed_ms: float


class ImageEmbedder:
    """Embeds uploads with whichever live encoder is asked for."""

    def __init__(
        self,
        cache: EmbeddingCache,
        limits: ImageLimits,
        pool: ThreadPoolExecutor,
        metrics: Metrics,
        *,
        deadline_s: float,
    ) -> None:
        self._cache = cache
        self._limits = limits
        self._pool = pool
        self._metrics = metrics
        self._deadline_s = deadline_s

    async def embed(self, live: LiveEncoder, entries: Sequence[Entry]) -> Embedded:
        """The vectors of the images, in order.

        Raises InvalidImageError and ImageTooLargeError, naming which of several, and what embedding raises.
        """
        began = time.perf_counter()
        data = [await self._read(entry) for entry in entries]
        dim = live.encoder.dim
        hashes = (
            [hashlib.sha256(one).hexdigest() for one in data] if self._cache.enabled else [""] * len(data)
        )
        rows = await self._cache.get(live.key, hashes, dim) if self._cache.enabled else [None] * len(data)
        missing = [i for i, row in enumerate(rows) if row is None]
        decode_s: list[float] = []
        if missing:
            if self._cache.enabled:
                self._metrics.observe_cache(hits=len(rows) - len(missing), misses=len(missing))
            makers = [self._maker(data, i, live.encoder.input_size, decode_s) for i in missing]
            fresh = await live.embed_images(makers, deadline_s=self._deadline_s)
            for i, vector in zip(missing, fresh, strict=True):
                rows[i] = vector
            await self._cache.put(live.key, {hashes[i]: fresh[n] for n, i in enumerate(missing)})
        elif rows:
            self._metrics.observe_cache(hits=len(rows))
        vectors = (
            np.stack([row for row in rows if row is not None]) if rows else np.zeros((0, dim), np.float32)
        )
        total = time.perf_counter() - began
        decode = min(sum(decode_s), total)
        return Embedded(vectors, decode_ms=1e3 * decode, embed_ms=1e3 * (total - decode))

    async def _read(self, entry: Entry) -> bytes:
        if entry.size <= IN_MEMORY_BYTES:
            return entry.read()
        return await asyncio.get_running_loop().run_in_executor(self._pool, entry.read)

    def _maker(
        self, data: Sequence[bytes], index: int, input_size: int, decode_s: list[float]
    ) -> Callable[[], Image.Image]:
        def decode() -> Image.Image:
            began = time.perf_counter()
            with naming(index, len(data)):
                image = images.decode(data[index], self._limits, input_size=input_size)
            seconds = time.perf_counter() - began
            decode_s.append(seconds)
            self._metrics.observe_stage("decode", seconds)
            return image

        return decode


class naming:  # noqa: N801  reads as a statement: with naming(...)
    """Says which of several images was refused; the sentence stays the fixed one."""

    def __init__(self, index: int, count: int) -> None:
        self._place = f"Image {index + 1} of {count}: " if count > 1 else ""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._place and isinstance(error, InvalidImageError | ImageTooLargeError):
            raise type(error)(self._place + error.detail) from error
