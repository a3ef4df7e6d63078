"""Pictures kept for review as rows; a look-up is held to a workspace by `app.collections`, which finds the collection.

A transaction that decides pictures locks their collection first; one that keeps a picture shares that lock before it
changes other rows, so that the two never wait for one another; others pass over rows that are locked.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from app.collections import vectors
from app.collections.neighbours import ReviewRetention
from app.feedback.scoring import PredictionScores
from app.feedback.tables import ReviewPicture

_QUEUE_LOCK = 0x7265_7669
"""Advisory lock (the letters revi), with a collection's hash: one process at a time adds to its queue."""
_WITHOUT_VECTORS = select(ReviewPicture).options(defer(ReviewPicture.vector))
_TRIM = 10_000
"""Rows that one statement forgets at most."""


@dataclass(frozen=True)
class NewPicture:
    """A picture before it has an id; the vector as SQL text."""

    request_id: str
    image_sha256: str
    bytes: int
    encoder: str
    vector: str
    prediction: PredictionScores
    place: float


@dataclass(frozen=True)
class ComparedPicture:
    """A kept picture and its similarity to a new one."""

    id: uuid.UUID
    margin: float
    waits: bool
    cosine: float


async def lock_queue(session: AsyncSession, collection_id: uuid.UUID) -> None:
    """Let one transaction at a time add to a collection's queue."""
    await session.execute(
        text("SELECT pg_advisory_xact_lock(:lock, hashtext(:collection))"),
        {"lock": _QUEUE_LOCK, "collection": str(collection_id)},
    )


async def compare(
    session: AsyncSession, collection_id: uuid.UUID, encoder: str, vector: str
) -> list[ComparedPicture]:
    """Every kept picture that the same encoder embedded, with its cosine to a vector."""
    rows = await session.execute(
        text(
            "SELECT id, margin, decision IS NULL, 1 - (vector <=> CAST(:vector AS vector)) FROM review_pictures "
            "WHERE collection_id = :collection AND encoder = :encoder"
        ),
        {"collection": collection_id, "encoder": encoder, "vector": vector},
    )
    return [
        ComparedPicture(picture, float(margin), waits, float(cosine))
        for picture, margin, waits, cosine in rows
    ]


async def read_retention(session: AsyncSession, collection_id: uuid.UUID) -> ReviewRetention:
    """What a collection may keep; nothing where it is gone."""
    row = (
        await session.execute(
            text("SELECT id, review_keep, review_days FROM collections WHERE id = :collection"),
            {"collection": collection_id},
        )
    ).one_or_none()
    return ReviewRetention(collection_id, None, None) if row is None else ReviewRetention(*row)


async def find_retention(session: AsyncSession, collection_id: uuid.UUID) -> ReviewRetention | None:
    """What a collection may keep, which nobody changes, nor teaches it, before the transaction ends; None where it
    keeps nothing or is gone.
    """
    row = (
        await session.execute(
            text(
                "SELECT id, review_keep, review_days FROM collections "
                "WHERE id = :collection AND review_keep IS NOT NULL FOR SHARE"
            ),
            {"collection": collection_id},
        )
    ).one_or_none()
    return None if row is None else ReviewRetention(*row)


async def is_known(session: AsyncSession, collection_id: uuid.UUID, image_sha256: str) -> bool:
    """Whether the very picture is kept, or taught, in this collection already."""
    found = await session.scalar(
        text(
            "SELECT EXISTS (SELECT FROM review_pictures WHERE collection_id = :collection AND image_sha256 = :image) "
            "OR EXISTS (SELECT FROM examples WHERE collection_id = :collection AND image_sha256 = :image)"
        ),
        {"collection": collection_id, "image": image_sha256},
    )
    return bool(found)


async def add(session: AsyncSession, collection_id: uuid.UUID, new: NewPicture) -> None:
    """Keep a picture."""
    await session.execute(
        insert(ReviewPicture).values(
            id=uuid.uuid4(),
            collection_id=collection_id,
            request_id=new.request_id,
            image_sha256=new.image_sha256,
            bytes=new.bytes,
            encoder=new.encoder,
            vector=text("CAST(:vector AS vector)").bindparams(vector=new.vector),
            place=new.place,
            **_score_values(new.prediction),
        )
    )


async def move_back(session: AsyncSession, pictures: Sequence[uuid.UUID], penalty: float) -> None:
    """Let pictures that wait stand further back."""
    if pictures:
        await session.execute(
            update(ReviewPicture)
            .where(ReviewPicture.id.in_(pictures), ReviewPicture.decision.is_(None))
            .values(place=ReviewPicture.place + penalty)
        )


async def measure(session: AsyncSession, retention: ReviewRetention) -> tuple[int, float]:
    """How many pictures wait, and the margin of the surest of them."""
    query = select(func.count(), func.coalesce(func.max(ReviewPicture.margin), 0.0)).where(_waits(retention))
    waiting, margin = (await session.execute(query)).one()
    return int(waiting), float(margin)


async def trim(session: AsyncSession, retention: ReviewRetention) -> list[str]:
    """Forget what is too old, the surest that wait beyond `keep`, and the longest decided beyond it; the hashes of the
    images of what went. See `RoomHooks.trim_review`.
    """
    if retention.keep is None or retention.days is None:
        gone = await session.scalars(
            delete(ReviewPicture)
            .where(ReviewPicture.collection_id == retention.id)
            .returning(ReviewPicture.image_sha256)
        )
        return list(gone)
    mine = "SELECT id FROM review_pictures WHERE collection_id = :collection"
    rows = await session.scalars(
        text(
            "DELETE FROM review_pictures WHERE id IN (SELECT id FROM review_pictures WHERE id IN ("  # noqa: S608 - no words of a client
            f"({mine} AND created_at < now() - make_interval(days => CAST(:days AS int)) LIMIT {_TRIM}) UNION ALL "
            f"({mine} AND decision IS NULL ORDER BY margin, id OFFSET :keep LIMIT {_TRIM}) UNION ALL "
            f"({mine} AND decision IS NOT NULL ORDER BY decided_at DESC, id OFFSET :keep LIMIT {_TRIM})"
            ") FOR UPDATE SKIP LOCKED) RETURNING image_sha256"
        ),
        {"collection": retention.id, "days": retention.days, "keep": retention.keep},
    )
    return list(rows)


async def list_retentions(session: AsyncSession) -> list[ReviewRetention]:
    """Every collection that keeps pictures for review."""
    rows = await session.execute(
        text("SELECT id, review_keep, review_days FROM collections WHERE review_keep IS NOT NULL")
    )
    return [ReviewRetention(*row) for row in rows]


async def page_by_place(
    session: AsyncSession, retention: ReviewRetention, *, limit: int, after: tuple[float, uuid.UUID] | None
) -> list[ReviewPicture]:
    """Pictures that wait, the least sure first, beginning after the pair `after`."""
    query = _WITHOUT_VECTORS.where(_waits(retention))
    if after is not None:
        place, picture = after
        query = query.where(
            or_(ReviewPicture.place > place, and_(ReviewPicture.place == place, ReviewPicture.id > picture))
        )
    rows = await session.scalars(query.order_by(ReviewPicture.place, ReviewPicture.id).limit(limit))
    return list(rows)


async def page_by_time(
    session: AsyncSession, retention: ReviewRetention, *, limit: int, after: tuple[datetime, uuid.UUID] | None
) -> list[ReviewPicture]:
    """Pictures that wait, the newest first, beginning after the pair `after`."""
    query = _WITHOUT_VECTORS.where(_waits(retention))
    if after is not None:
        moment, picture = after
        query = query.where(
            or_(
                ReviewPicture.created_at < moment,
                and_(ReviewPicture.created_at == moment, ReviewPicture.id < picture),
            )
        )
    order = (ReviewPicture.created_at.desc(), ReviewPicture.id.desc())
    return list(await session.scalars(query.order_by(*order).limit(limit)))


async def find_all(session: AsyncSession, pictures: Sequence[uuid.UUID]) -> list[ReviewPicture]:
    """Pictures of any collection, which the caller knows to be of its workspace."""
    return list(await session.scalars(_WITHOUT_VECTORS.where(ReviewPicture.id.in_(pictures))))


async def find(
    session: AsyncSession, retention: ReviewRetention, pictures: Sequence[uuid.UUID], *, lock: bool = False
) -> list[ReviewPicture]:
    """Those of the pictures that are kept, decided ones too, by id; none that is too old."""
    query = _WITHOUT_VECTORS.where(_is_fresh(retention), ReviewPicture.id.in_(pictures))
    query = query.order_by(ReviewPicture.id)
    return list(await session.scalars(query.with_for_update() if lock else query))


async def find_by_request(
    session: AsyncSession, retention: ReviewRetention, request_id: str, limit: int
) -> list[ReviewPicture]:
    """The kept pictures of a request, decided ones too; at most `limit`."""
    query = _WITHOUT_VECTORS.where(_is_fresh(retention), ReviewPicture.request_id == request_id)
    return list(await session.scalars(query.order_by(ReviewPicture.id).limit(limit)))


async def find_by_image(
    session: AsyncSession, retention: ReviewRetention, image_sha256: str, *, lock: bool = False
) -> ReviewPicture | None:
    """The kept picture of this content, decided or not; None where it is too old."""
    query = _WITHOUT_VECTORS.where(_is_fresh(retention), ReviewPicture.image_sha256 == image_sha256)
    return await session.scalar(query.with_for_update() if lock else query)


async def read_vectors(session: AsyncSession, pictures: Sequence[uuid.UUID]) -> dict[uuid.UUID, bytes]:
    """The vectors of pictures as pgvector sends them."""
    found: dict[uuid.UUID, bytes] = {}
    query = "SELECT id, vector FROM review_pictures WHERE id = ANY(%(pictures)s)"
    async for rows in vectors.stream(session, query, {"pictures": list(pictures)}):
        found.update(rows)
    return found


async def read_vectors_as_text(session: AsyncSession, pictures: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """The vectors of pictures as SQL text."""
    rows = await session.execute(
        text("SELECT id, CAST(vector AS text) FROM review_pictures WHERE id = ANY(:pictures)"),
        {"pictures": list(pictures)},
    )
    return dict(rows.all())


async def put_scores(
    session: AsyncSession, predictions: Sequence[tuple[uuid.UUID, PredictionScores]]
) -> None:
    """Store new scores of pictures that wait; rows locked by a decision are skipped."""
    free = await session.scalars(
        select(ReviewPicture.id)
        .where(
            ReviewPicture.id.in_([picture for picture, _ in predictions]), ReviewPicture.decision.is_(None)
        )
        .order_by(ReviewPicture.id)
        .with_for_update(skip_locked=True)
    )
    wanted = set(free)
    changed = [{"id": picture, **_score_values(new)} for picture, new in predictions if picture in wanted]
    if changed:
        await session.execute(update(ReviewPicture), changed)


async def images_of(session: AsyncSession, collection_id: uuid.UUID) -> set[str]:
    """Hashes of the images that a collection keeps for review."""
    query = select(ReviewPicture.image_sha256).where(ReviewPicture.collection_id == collection_id)
    return set(await session.scalars(query))


async def find_shown_images(session: AsyncSession, hashes: Sequence[str]) -> set[str]:
    """Those of the images that any collection keeps for review."""
    query = select(ReviewPicture.image_sha256).where(ReviewPicture.image_sha256.in_(hashes))
    return set(await session.scalars(query))


def _score_values(prediction: PredictionScores) -> dict[str, Any]:
    return {
        "scores": [list(score) for score in prediction.scores],
        "guess": prediction.guess,
        "margin": prediction.margin,
        "rejected": prediction.rejected,
        "scored_version": prediction.version,
    }


def _is_fresh(retention: ReviewRetention) -> Any:
    """Of a collection, and not too old: the sweep that forgets what is comes now and then."""
    span = func.make_interval(0, 0, 0, retention.days)
    return and_(ReviewPicture.collection_id == retention.id, ReviewPicture.created_at >= func.now() - span)


def _waits(retention: ReviewRetention) -> Any:
    return and_(_is_fresh(retention), ReviewPicture.decision.is_(None))
