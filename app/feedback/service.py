"""What people see of the pictures that a collection was unsure of: the queue, a picture, and how often they agreed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.collections import vectors
from app.collections.directory import KnownCollection
from app.collections.errors import CollectionNotFoundError
from app.collections.judging import judge_vectors
from app.collections.neighbours import ReviewRetention
from app.collections.service import Recognition
from app.errors import VisionError
from app.feedback import outcomes, repository, workspaces
from app.feedback.decisions import Stats
from app.feedback.errors import ReviewPictureNotFoundError
from app.feedback.repository import find_shown_images, images_of
from app.feedback.repository import trim as trim_review
from app.feedback.scoring import PredictionScores, score_row
from app.feedback.tables import ReviewPicture
from app.feedback.workspaces import count_stored_bytes
from app.storage.database import Database

__all__ = [
    "Order",
    "PendingPicture",
    "ReviewQueue",
    "count_stored_bytes",
    "find_shown_images",
    "images_of",
    "trim_review",
]

Order = Literal["margin", "newest"]

log = structlog.get_logger("app.feedback")


@dataclass(frozen=True)
class PendingPicture:
    """A picture that waits, and the name of its collection."""

    picture: ReviewPicture
    collection: str


@dataclass(eq=False)
class ReviewQueue:
    """The review queues of collections, for reading."""

    database: Database
    recognition: Recognition
    score_wait_s: float
    """How long a reader waits for new scores; fitting a large collection anew takes seconds, and goes on meanwhile."""

    async def page_by_place(
        self, workspace: str, collection: str, *, limit: int, after: tuple[float, uuid.UUID] | None
    ) -> list[ReviewPicture]:
        """Pictures that wait, the least sure first, beginning after the pair `after`; raises CollectionNotFoundError.

        Their scores are what the collection says now; their order is by what it said when they came, so that none
        moves while a client pages through them.
        """
        known, retention = await self._find_retention(workspace, collection)
        async with self.database.session() as session:
            rows = await repository.page_by_place(session, retention, limit=limit, after=after)
        await self._rescore(known, rows)
        return rows

    async def page_by_time(
        self, workspace: str, collection: str, *, limit: int, after: tuple[datetime, uuid.UUID] | None
    ) -> list[ReviewPicture]:
        """The same, the newest first."""
        known, retention = await self._find_retention(workspace, collection)
        async with self.database.session() as session:
            rows = await repository.page_by_time(session, retention, limit=limit, after=after)
        await self._rescore(known, rows)
        return rows

    async def page_everywhere(
        self, workspace: str, *, page: int, size: int
    ) -> tuple[list[PendingPicture], int]:
        """The least sure first of all collections, for clients that count pages from 1, and how many wait."""
        async with self.database.session() as session:
            names = await workspaces.page(session, workspace, limit=size, offset=(page - 1) * size)
            total = await workspaces.count(session, workspace)
            rows = {row.id: row for row in await repository.find_all(session, list(names))}
        pending = [PendingPicture(rows[picture], name) for picture, name in names.items() if picture in rows]
        for name in set(names.values()):
            with suppress(CollectionNotFoundError):  # it was deleted meanwhile
                known = await self.recognition.resolve_collection(workspace, name)
                await self._rescore(known, [item.picture for item in pending if item.collection == name])
        return pending, total

    async def find_collection_of(self, workspace: str, picture: uuid.UUID) -> str:
        """The name of the collection that keeps a picture; raises ReviewPictureNotFoundError."""
        async with self.database.session() as session:
            found = await workspaces.find_collection_of(session, workspace, picture)
        if found is None:
            raise ReviewPictureNotFoundError
        return found

    async def find(self, workspace: str, collection: str, picture: uuid.UUID) -> ReviewPicture:
        """One kept picture, decided or not; raises CollectionNotFoundError and ReviewPictureNotFoundError."""
        _, retention = await self._find_retention(workspace, collection)
        async with self.database.session() as session:
            found = await repository.find(session, retention, [picture])
        if not found:
            raise ReviewPictureNotFoundError
        return found[0]

    async def count(self, workspace: str, collection: str) -> Stats:
        """How many pictures wait, and how often people agreed; raises CollectionNotFoundError."""
        known, retention = await self._find_retention(workspace, collection)
        async with self.database.session() as session:
            waiting, _ = await repository.measure(session, retention)
            return await outcomes.summarise(session, known.id, waiting)

    async def _find_retention(
        self, workspace: str, collection: str
    ) -> tuple[KnownCollection, ReviewRetention]:
        known = await self.recognition.resolve_collection(workspace, collection)
        async with self.database.session() as session:
            return known, await repository.read_retention(session, known.id)

    async def _rescore(self, known: KnownCollection, rows: Sequence[ReviewPicture]) -> None:
        """Update the scores of the rows to those of the collection now, and store them.

        Where that cannot be computed at the moment they keep the last scores; `scored_version` says of which version.
        """
        stale = [row for row in rows if row.scored_version != known.version]
        try:
            for encoder in {row.encoder for row in stale}:
                await self._score(known, encoder, [row for row in stale if row.encoder == encoder])
        except (VisionError, SQLAlchemyError, TimeoutError) as error:
            log.info("pictures for review could not be scored again", reason=type(error).__name__)

    async def _score(self, known: KnownCollection, encoder: str, rows: Sequence[ReviewPicture]) -> None:
        async with self.database.session() as session:
            found = await repository.read_vectors(session, [row.id for row in rows])
        rows = [row for row in rows if row.id in found]
        if not rows:
            return
        matrix = vectors.from_wire([found[row.id] for row in rows], _dim(found[rows[0].id]))
        async with asyncio.timeout(self.score_wait_s):
            judged = await judge_vectors(self.recognition, known, encoder, matrix)
        if judged is None:
            return
        predictions = [
            (row.id, score_row(judged.labels, judged.prediction, index, judged.threshold, known.version))
            for index, row in enumerate(rows)
        ]
        async with self.database.session() as session:
            await repository.put_scores(session, predictions)
        for row, (_, new) in zip(rows, predictions, strict=True):
            _update_scores(row, new)


def _dim(wire: bytes) -> int:
    """Of a vector as pgvector sends it: two bytes, big-endian, say so."""
    return int.from_bytes(wire[:2], "big")


def _update_scores(row: ReviewPicture, new: PredictionScores) -> None:
    row.scores = [list(score) for score in new.scores]
    row.guess, row.margin, row.rejected = new.guess, new.margin, new.rejected
    row.scored_version = new.version
