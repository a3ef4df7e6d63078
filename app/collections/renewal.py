"""Embeds a collection's images again when its encoder's weights are no longer those that embedded them.

The images are kept for this.
"""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import structlog
from numpy.typing import NDArray

from app.collections import repository, vectors
from app.collections.directory import Directory, KnownCollection
from app.errors import InvalidInputError, NotReadyError, TooLargeError
from app.inference.engine.interface import Engine, ServedEncoder
from app.media import images
from app.media.images import ImageLimits
from app.storage.blobs import BlobStore
from app.storage.database import Database

_CHUNK = 16
_RETRY_S = 2
_START = uuid.UUID(int=0)
_Place = tuple[uuid.UUID, str]
"""Collection and encoder key."""

log = structlog.get_logger("app.collections")


@dataclass(kw_only=True)
class Renewal(ABC):
    """What this process made sure of: that a collection's rows of one kind have vectors of today's encoder."""

    what: ClassVar[str]
    """What is embedded again, for people."""
    find_stale: ClassVar[Callable[..., Awaitable[Sequence[Any]]]]
    """Rows (`id`, `image_sha256`) without vectors of an encoder; as `repository.missing_vectors`."""

    database: Database
    registry: Engine
    blobs: BlobStore
    limits: ImageLimits
    deadline_s: float
    _complete: set[_Place] = field(default_factory=set, init=False)
    _running: dict[_Place, asyncio.Task[None]] = field(default_factory=dict, init=False)

    @abstractmethod
    async def replace(
        self, live: ServedEncoder, collection_id: uuid.UUID, rows: Sequence[Any], made: NDArray[np.float32]
    ) -> None:
        """Keep new vectors float32[rows, d] of the rows' images."""

    @abstractmethod
    async def end(self, known: KnownCollection) -> None:
        """Let it be known that all rows of a collection have new vectors."""

    async def check(self, known: KnownCollection, key: str) -> None:
        """Raise NotReadyError while vectors are missing and being made; looked up once a collection and encoder."""
        place = (known.id, key)
        if place in self._complete:
            return
        if place not in self._running:
            async with self.database.session() as session:
                stale = await self.find_stale(session, known.id, key, limit=1, after=_START)
            if not stale:
                self._complete.add(place)
                return
            if place not in self._running:
                task = self._running[place] = asyncio.create_task(self._renew(known, key))
                task.add_done_callback(lambda done: self._forget(place, done))
        raise NotReadyError(
            f"The {self.what} of '{known.name}' are being embedded again, by new weights: try again shortly.",
            retry_after_s=_RETRY_S,
        )

    async def close(self) -> None:
        """Stop what is under way; what is missing is made after the next start."""
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _forget(self, place: _Place, task: asyncio.Task[None]) -> None:
        del self._running[place]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning(
                "embedding again failed", what=self.what, collection=str(place[0]), reason=repr(error)
            )

    async def _renew(self, known: KnownCollection, key: str) -> None:
        log.info("embedding a collection again", what=self.what, collection=known.name, model=key)
        after, done = _START, 0
        async with self.registry.encoder(known.encoder) as live:
            while True:
                async with self.database.session() as session:
                    chunk = await self.find_stale(session, known.id, live.key, limit=_CHUNK, after=after)
                if not chunk:
                    break
                after = chunk[-1].id
                done += await self._embed(known, live, chunk)
            await self.end(known)
        self._complete.add((known.id, live.key))
        log.info(
            "a collection was embedded again", what=self.what, collection=known.name, model=key, images=done
        )

    async def _embed(self, known: KnownCollection, live: ServedEncoder, chunk: Sequence[Any]) -> int:
        """New vectors of those whose images can be read; a row keeps its old ones otherwise, which nothing finds."""
        readable: list[Any] = []
        decoded: list[Any] = []
        for row in chunk:
            try:
                data = await self.blobs.get(row.image_sha256)
                image = await asyncio.to_thread(images.decode, data, self.limits, input_size=live.input_size)
            except (FileNotFoundError, InvalidInputError, TooLargeError) as error:
                log.warning("an example's image is unreadable", example=str(row.id), reason=str(error))
                continue
            readable.append(row)
            decoded.append(image)
        if readable:
            made = await live.embed_images(decoded, deadline_s=self.deadline_s)
            await self.replace(live, known.id, readable, made)
        return len(readable)


@dataclass(kw_only=True)
class ExampleRenewal(Renewal):
    """Of examples; their collection gets a new version, for which heads are fitted again."""

    what = "images"
    find_stale = staticmethod(repository.missing_vectors)

    directory: Directory

    async def replace(
        self, live: ServedEncoder, collection_id: uuid.UUID, rows: Sequence[Any], made: NDArray[np.float32]
    ) -> None:
        """See `Renewal`."""
        async with self.database.session() as session:
            for row, vector in zip(rows, made, strict=True):
                await repository.put_vector(session, collection_id, row.id, live.key, vectors.to_sql(vector))

    async def end(self, known: KnownCollection) -> None:
        """Give the collection a new version, and tell everybody."""
        async with self.database.session() as session:
            row = await repository.find_collection(session, known.workspace, known.name, lock=True)
            row.version += 1
            # what was made is of no version that a process could read from, so all read everything
            row.removals_since = row.version
        self.directory.learn(row)
        await self.directory.announce(row)
