"""Embeds a collection's answer examples again when its encoder is no longer the one that embedded them.

The images are kept for this.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import structlog

from app.answers import repository
from app.answers.tables import AnswerExample
from app.collections import vectors
from app.collections.directory import KnownCollection
from app.errors import InvalidInputError, NotReadyError, TooLargeError
from app.inference.live import LiveEncoder
from app.inference.registry import ModelRegistry
from app.media import images
from app.media.images import ImageLimits
from app.storage.blobs import BlobStore
from app.storage.database import Database

_CHUNK = 16
_RETRY_S = 2
_Place = tuple[uuid.UUID, str]

log = structlog.get_logger("app.answers")


class AnswerRenewal:
    """What this process made sure of: that a collection's answer examples have vectors of today's encoder."""

    def __init__(
        self,
        database: Database,
        registry: ModelRegistry,
        blobs: BlobStore,
        limits: ImageLimits,
        *,
        deadline_s: float,
    ) -> None:
        self._database = database
        self._registry = registry
        self._blobs = blobs
        self._limits = limits
        self._deadline_s = deadline_s
        self._complete: set[_Place] = set()
        self._running: dict[_Place, asyncio.Task[None]] = {}

    async def check(self, known: KnownCollection, key: str) -> None:
        """Raise NotReadyError while examples are being embedded again; looked up once a collection and encoder."""
        place = (known.id, key)
        if place in self._complete:
            return
        if place not in self._running:
            async with self._database.session() as session:
                stale = await repository.of_other_encoders(session, known.id, key, limit=1)
            if not stale:
                self._complete.add(place)
                return
            if place not in self._running:
                task = self._running[place] = asyncio.create_task(self._renew(known, key))
                task.add_done_callback(lambda done: self._end(place, done))
        raise NotReadyError(
            f"The answer examples of '{known.name}' are being embedded again, by a new encoder: try again "
            "shortly.",
            retry_after_s=_RETRY_S,
        )

    async def close(self) -> None:
        """Stop what is under way; what is left is made after the next start."""
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _end(self, place: _Place, task: asyncio.Task[None]) -> None:
        del self._running[place]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("embedding answers again failed", collection=str(place[0]), reason=repr(error))

    async def _renew(self, known: KnownCollection, key: str) -> None:
        log.info("embedding answer examples again", collection=known.name, model=key)
        after = uuid.UUID(int=0)
        async with self._registry.encoder(known.encoder) as live:
            while True:
                async with self._database.session() as session:
                    chunk = await repository.of_other_encoders(
                        session, known.id, live.key, limit=_CHUNK, after=after
                    )
                if not chunk:
                    break
                after = chunk[-1].id
                await self._embed(live, chunk)
        self._complete.add((known.id, live.key))

    async def _embed(self, live: LiveEncoder, chunk: Sequence[AnswerExample]) -> None:
        """New vectors for the examples; one whose image is gone keeps its old ones, which nothing finds."""
        readable, decoded = [], []
        for example in chunk:
            try:
                data = await self._blobs.get(example.image_sha256)
                image = await asyncio.to_thread(
                    images.decode, data, self._limits, input_size=live.encoder.input_size
                )
            except (FileNotFoundError, InvalidInputError, TooLargeError) as error:
                log.warning("an example's image is unreadable", example=str(example.id), reason=str(error))
                continue
            readable.append(example)
            decoded.append(image)
        if not readable:
            return
        pictures = await live.embed_images(decoded, deadline_s=self._deadline_s)
        questions = await live.embed_questions(
            [example.question for example in readable], deadline_s=self._deadline_s
        )
        async with self._database.session() as session:
            for example, picture, question in zip(readable, pictures, questions, strict=True):
                await repository.put_vectors(
                    session, example.id, live.key, vectors.to_sql(picture), vectors.to_sql(question)
                )
