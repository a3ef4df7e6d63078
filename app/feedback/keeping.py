"""Writes the unsure pictures that requests hand over, in the background, and forgets those that are too old."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.quota import StorageQuota
from app.collections import vectors
from app.collections.learning import Learning
from app.collections.neighbours import ReviewRetention
from app.collections.service import lock_images
from app.feedback import outcomes, repository
from app.feedback.diversity import place_picture
from app.feedback.handover import HandOver, UnsurePicture
from app.feedback.repository import ComparedPicture, NewPicture
from app.settings.review import ReviewSettings
from app.storage.blobs import BlobStore
from app.storage.database import Database

_CLOSE_SECONDS = 5.0

log = structlog.get_logger("app.feedback")


@dataclass(eq=False)
class Keeper:
    """Writes pictures in the background, one at a time, so that no request waits for it."""

    settings: ReviewSettings
    database: Database
    learning: Learning
    blobs: BlobStore
    quota: StorageQuota
    handover: HandOver
    _tasks: list[asyncio.Task[None]] = field(default_factory=list, init=False)
    _is_idle: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _is_failing: bool = field(default=False, init=False)

    def start(self) -> None:
        """Begin to write and to look."""
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._look())]

    async def close(self) -> None:
        """Write what waits, for a moment; drop the rest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.handover.close()

    async def drain(self) -> None:
        """Wait until nothing waits to be written."""
        while not (self.handover.is_empty and self._is_idle.is_set()):
            await self._is_idle.wait()
            await asyncio.sleep(0)  # the writer's turn

    async def sweep(self) -> int:
        """Forget pictures that are kept for too long, and what people said long ago; how many pictures went."""
        async with self.database.session() as session:
            everywhere = await repository.list_retentions(session)
            await outcomes.forget_old(session, self.settings.feedback_days)
        gone: list[str] = []
        for retention in everywhere:
            async with self.database.session() as session:
                gone += await repository.trim(session, retention)
        if gone:
            self.learning.drop_later(gone)
        return len(gone)

    async def _look(self) -> None:
        while True:
            try:
                await self.sweep()
            except Exception as error:  # whatever it is, a later sweep may succeed
                log.warning("pictures kept for review could not be swept", reason=type(error).__name__)
            await asyncio.sleep(self.settings.review_sweep_s)

    async def _write(self) -> None:
        while True:
            self._is_idle.set()
            picture = await self.handover.take()
            self._is_idle.clear()
            try:
                outcome = await self._keep(picture)
                self._is_failing = False
            except Exception as error:  # whatever it is, the next picture may be kept
                outcome = "refused"
                if not self._is_failing:  # said once, not for each picture
                    log.warning(
                        "a picture could not be kept for review",
                        reason=(str(error) or type(error).__name__)[:300],
                    )
                self._is_failing = True
            finally:
                picture.entry.close()
            self.handover.metrics.observe_review(outcome)

    async def _keep(self, picture: UnsurePicture) -> str:
        """Write one picture, unless it is known or others are less sure; what became of it.

        Raises what reading and storing an image raises, and WorkspaceFullError.
        """
        stored = await self.learning.normalise(picture.entry, 0, 1)
        sha256 = hashlib.sha256(stored.bytes).hexdigest()
        known = picture.collection
        await self.quota.take(known.workspace, len(stored.bytes))
        vector = vectors.to_sql(picture.vector)
        async with self.database.session() as session:
            await lock_images(session, [sha256])
            await repository.lock_queue(session, known.id)
            retention = await repository.find_retention(session, known.id)
            if retention is None or retention.keep is None:
                return "refused"
            others = await repository.compare(session, known.id, picture.encoder, vector)
            if any(other.cosine >= self.settings.review_same_similarity for other in others):
                return "known"
            if await repository.is_known(session, known.id, sha256):
                return "known"
            waiting, surest = await repository.measure(session, retention)
            if waiting >= retention.keep and picture.prediction.margin >= surest:
                self.handover.set_margin_limit(known.id, surest)
                return "surer"
            await self.blobs.put(sha256, stored.bytes)
            await self._add(session, retention, picture, others, sha256, len(stored.bytes), vector)
            gone = await repository.trim(session, retention)
        self.handover.set_margin_limit(known.id, None)
        self.learning.drop_later(gone)
        return "kept"

    async def _add(
        self,
        session: AsyncSession,
        retention: ReviewRetention,
        picture: UnsurePicture,
        others: Sequence[ComparedPicture],
        sha256: str,
        size: int,
        vector: str,
    ) -> None:
        """Give the picture its place in the queue, and let surer ones like it stand further back."""
        penalty = self.settings.review_diversity
        waiting = [other for other in others if other.waits]
        placement = place_picture(
            picture.prediction.margin,
            np.array([other.cosine for other in waiting]),
            np.array([other.margin for other in waiting]),
            penalty,
        )
        new = NewPicture(
            picture.request_id, sha256, size, picture.encoder, vector, picture.prediction, placement.place
        )
        await repository.add(session, retention.id, new)
        await repository.move_back(session, [waiting[index].id for index in placement.pushed_back], penalty)
