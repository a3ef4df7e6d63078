"""From uploaded bytes to vectors: hashed, looked up, decoded in the pool, embedded, remembered."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.collections.cache import EmbeddingCache
from app.http.spool import IN_MEMORY_BYTES, Entry
from app.inference.engine.interface import ServedEncoder
from app.inference.fair_semaphore import FairSemaphore
from app.inference.protocols import Place, PlacedMaker, Rgb
from app.media import images
from app.media.encoded import EncodedJpeg, as_encoded_jpeg
from app.media.errors import naming
from app.media.images import ImageLimits
from app.observability.metrics import Metrics


@dataclass(frozen=True)
class EmbeddingResult:
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
    places: FairSemaphore
    """Who may decode and embed an image now; workspaces take turns."""
    deadline_s: float = field(kw_only=True)

    async def embed(self, workspace: str, live: ServedEncoder, entries: Sequence[Entry]) -> EmbeddingResult:
        """The vectors of the images, in order.

        Raises InvalidImageError and ImageTooLargeError, naming which of several, OverloadedError where too many images
        wait, and what embedding raises.
        """
        began, deadline = time.perf_counter(), time.monotonic() + self.deadline_s
        self.metrics.cpu.end("receive", math.inf)
        vectors = np.zeros((len(entries), live.dim), np.float32)
        decode_s: list[float] = []
        async with self.places.hold(workspace, deadline=deadline):
            data, hashes = await self._read_all(entries)
            missing = await self._look_up(live, hashes, vectors)
            makers = [self._maker(data, i, live, decode_s) for i in missing]
            if len(makers) == 1:
                with naming(missing[0], len(data)):
                    vectors[missing] = await live.embed_images(makers, deadline_s=_seconds_left(deadline))
        if len(makers) > 1:
            named = dict(zip(missing, makers, strict=True))
            vectors[missing] = await self._embed_in_turn(workspace, live, named, len(data), deadline)
        if missing:
            await self.cache.put(live.key, {hashes[i]: vectors[i] for i in missing})
        total = time.perf_counter() - began
        decode = min(sum(decode_s), total)
        return EmbeddingResult(vectors, decode_ms=1e3 * decode, embed_ms=1e3 * (total - decode))

    async def _look_up(
        self, live: ServedEncoder, hashes: Sequence[str], vectors: NDArray[np.float32]
    ) -> list[int]:
        """Fill in the rows of `vectors` that the cache has; the indices of the others."""
        missing = []
        for i, row in enumerate(await self.cache.get(live.key, hashes, live.dim)):
            if row is None:
                missing.append(i)
            else:
                vectors[i] = row
        if self.cache.enabled:
            self.metrics.observe_cache(hits=len(hashes) - len(missing), misses=len(missing))
        return missing

    async def _embed_in_turn(
        self,
        workspace: str,
        live: ServedEncoder,
        makers: Mapping[int, PlacedMaker],
        count: int,
        deadline: float,
    ) -> NDArray[np.float32]:
        """float32[n, d]; each of several images waits for a place of its own before it is decoded.

        `makers` by which of `count` images it is, as the error says of one that cannot be read.
        """

        async def embed_one(index: int, maker: PlacedMaker) -> NDArray[np.float32]:
            async with self.places.hold(workspace, deadline=deadline):
                with naming(index, count):  # a device's decoder may refuse what seemed whole here
                    return await live.embed_images([maker], deadline_s=_seconds_left(deadline))

        tasks = [asyncio.create_task(embed_one(index, maker)) for index, maker in makers.items()]
        try:
            return np.concatenate(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read_all(self, entries: Sequence[Entry]) -> tuple[list[bytes], list[str]]:
        """The bytes of each image, and what the cache knows it by."""
        read = [await self._read(entry) for entry in entries]
        return [data for data, _ in read], [sha256 for _, sha256 in read]

    async def _read(self, entry: Entry) -> tuple[bytes, str]:
        """The bytes and what the cache knows them by."""
        read = _read_and_hash if self.cache.enabled else _read_bytes
        if entry.size <= IN_MEMORY_BYTES:
            return read(entry)
        return await asyncio.get_running_loop().run_in_executor(self.pool, read, entry)

    def _maker(
        self, data: Sequence[bytes], index: int, live: ServedEncoder, decode_s: list[float]
    ) -> PlacedMaker:
        def decode(place: Place | None) -> Rgb | EncodedJpeg:
            began = time.perf_counter()
            image: Rgb | EncodedJpeg | None = None
            if live.reads_jpeg:
                image = as_encoded_jpeg(data[index], self.limits)
            if image is None:
                image = images.decode_pixels(
                    data[index], self.limits, min_side=live.min_decoded_side, place=place
                )
            seconds = time.perf_counter() - began
            decode_s.append(seconds)
            self.metrics.observe_stage("decode", seconds)
            return image

        return _Upload(decode)


@dataclass(frozen=True)
class _Upload:
    """An upload as a maker of its image."""

    decode: Callable[[Place | None], Rgb | EncodedJpeg]

    def __call__(self) -> Rgb | EncodedJpeg:
        return self.decode(None)

    def make_into(self, place: Place) -> Rgb | EncodedJpeg:
        return self.decode(place)


def _seconds_left(deadline: float) -> float:
    """Seconds until a moment of `time.monotonic()`."""
    return max(0.0, deadline - time.monotonic())


def _read_bytes(entry: Entry) -> tuple[bytes, str]:
    return entry.read(), ""


def _read_and_hash(entry: Entry) -> tuple[bytes, str]:
    data = entry.read()
    return data, hashlib.sha256(data).hexdigest()
