"""Embeds a collection's images again when its encoder's weights are no longer those that embedded them.

The images are kept for this.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import structlog

from app.collections import repository, vectors
from app.collections.directory import Directory, KnownCollection
from app.errors import InvalidInputError, NotReadyError, TooLargeError
from app.inference.live import LiveEncoder
from app.inference.registry import ModelRegistry
from app.media import images
from app.media.images import ImageLimits
from app.storage.blobs import BlobStore
from app.storage.database import Database

_CHUNK = 16
_RETRY_S = 2

log = structlog.get_logger("app.collections")


class Renewal:
    """What this process made sure of: that every example of a collection has a vector of today's weights."""

    def __init__(
        self,
        database: Database,
        registry: ModelRegistry,
        directory: Directory,
        blobs: BlobStore,
        limits: ImageLimits,
        *,
        deadline_s: float,
    ) -> None:
        self._database = database
        self._registry = registry
        self._directory = directory
        self._blobs = blobs
        self._limits = limits
        self._deadline_s = deadline_s
        self._complete: set[tuple[uuid.UUID, str]] = set()
        self._running: dict[tuple[uuid.UUID, str], asyncio.Task[None]] = {}

    async def check(self, known: KnownCollection, live: LiveEncoder) -> None:
        """Raise NotReadyError while vectors are missing and being made; looked up once a collection."""
        place = (known.id, live.key)
        if place in self._complete:
            return
        if place not in self._running:
            async with self._database.session() as session:
                missing = await repository.missing_vectors(session, known.id, live.key, limit=1)
            if not missing:
                self._complete.add(place)
                return
            if place not in self._running:
                task = self._running[place] = asyncio.create_task(self._renew(known, live.key))
                task.add_done_callback(lambda done: self._end(place, done))
        raise NotReadyError(
            f"The images of '{known.name}' are being embedded again, by new weights: try again shortly.",
            retry_after_s=_RETRY_S,
        )

    async def close(self) -> None:
        """Stop what is under way; what is missing is made after the next start."""
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _end(self, place: tuple[uuid.UUID, str], task: asyncio.Task[None]) -> None:
        del self._running[place]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("embedding again failed", collection=str(place[0]), reason=repr(error))

    async def _renew(self, known: KnownCollection, key: str) -> None:
        log.info("embedding a collection again", collection=known.name, model=key)
        after, done = uuid.UUID(int=0), 0
        async with self._registry.encoder(known.encoder) as live:
            while True:
                async with self._database.session() as session:
                    chunk = await repository.missing_vectors(
                        session, known.id, live.key, limit=_CHUNK, after=after
                    )
                if not chunk:
                    break
                after = chunk[-1][0]
                done += await self._embed(known, live, chunk)
            async with self._database.session() as session:
                row = await repository.find_collection(session, known.workspace, known.name, lock=True)
                row.version += 1
                # what was made is of no version that a process could read from, so all read everything
                row.removals_since = row.version
        self._complete.add((known.id, live.key))
        self._directory.learn(row)
        await self._directory.announce(row)
        log.info("a collection was embedded again", collection=known.name, model=key, images=done)

    async def _embed(
        self, known: KnownCollection, live: LiveEncoder, chunk: Sequence[tuple[uuid.UUID, str]]
    ) -> int:
        readable, decoded = [], []
        for example_id, sha256 in chunk:
            try:
                image = await asyncio.to_thread(
                    images.decode,
                    await self._blobs.get(sha256),
                    self._limits,
                    input_size=live.encoder.input_size,
                )
            except (FileNotFoundError, InvalidInputError, TooLargeError) as error:
                log.warning("an example's image is unreadable", example=str(example_id), reason=str(error))
                continue
            readable.append(example_id)
            decoded.append(image)
        made = await live.embed_images(decoded, deadline_s=self._deadline_s)
        async with self._database.session() as session:
            for example_id, vector in zip(readable, made, strict=True):
                await repository.put_vector(session, known.id, example_id, live.key, vectors.to_sql(vector))
        return len(readable)
