"""From uploaded bytes to vectors: hashed, looked up, decoded in the pool, embedded, remembered."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.collections.cache import EmbeddingCache
from app.http.spool import IN_MEMORY_BYTES, Entry
from app.inference.engine.interface import ServedEncoder
from app.media import images
from app.media.errors import naming
from app.media.images import ImageLimits
from app.observability.metrics import Metrics


@dataclass(frozen=True)
class Embedded:
    """Vectors float32[n, d] in the order of the images, and where the time went in milliseconds."""

    vectors: NDArray[np.float32]
    decode_ms: float
    embed_ms: float


@dataclass(eq=False)
class ImageEmbedder:
    """Embeds uploads with whichever live encoder is asked for."""

    cache: EmbeddingCache
    limits: ImageLimits
    pool: ThreadPoolExecutor
    metrics: Metrics
    deadline_s: float = field(kw_only=True)

    async def embed(self, live: ServedEncoder, entries: Sequence[Entry]) -> Embedded:
        """The vectors of the images, in order.

        Raises InvalidImageError and ImageTooLargeError, naming which of several, and what embedding raises.
        """
        began = time.perf_counter()
        data, hashes = [], []
        for entry in entries:
            one, sha256 = await self._read(entry)
            data.append(one)
            hashes.append(sha256)
        vectors = np.zeros((len(data), live.dim), np.float32)
        missing = []
        for i, row in enumerate(await self.cache.get(live.key, hashes, live.dim)):
            if row is None:
                missing.append(i)
            else:
                vectors[i] = row
        if self.cache.enabled:
            self.metrics.observe_cache(hits=len(data) - len(missing), misses=len(missing))
        decode_s: list[float] = []
        if missing:
            makers = [self._maker(data, i, live.input_size, decode_s) for i in missing]
            vectors[missing] = await live.embed_images(makers, deadline_s=self.deadline_s)
            await self.cache.put(live.key, {hashes[i]: vectors[i] for i in missing})
        total = time.perf_counter() - began
        decode = min(sum(decode_s), total)
        return Embedded(vectors, decode_ms=1e3 * decode, embed_ms=1e3 * (total - decode))

    async def _read(self, entry: Entry) -> tuple[bytes, str]:
        """The bytes and what the cache knows them by."""
        if entry.size <= IN_MEMORY_BYTES:
            return _hashed(entry)
        return await asyncio.get_running_loop().run_in_executor(self.pool, _hashed, entry)

    def _maker(
        self, data: Sequence[bytes], index: int, input_size: int, decode_s: list[float]
    ) -> Callable[[], Image.Image]:
        def decode() -> Image.Image:
            began = time.perf_counter()
            with naming(index, len(data)):
                image = images.decode(data[index], self.limits, input_size=input_size)
            seconds = time.perf_counter() - began
            decode_s.append(seconds)
            self.metrics.observe_stage("decode", seconds)
            return image

        return decode


def _hashed(entry: Entry) -> tuple[bytes, str]:
    data = entry.read()
    return data, hashlib.sha256(data).hexdigest()
