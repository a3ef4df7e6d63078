"""Decisions on answers, one row per picture, and how often people agreed; in the caller's transaction."""

from __future__ import annotations

import uuid
from typing import Literal, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.feedback.decisions import AgreementPoint, Decision, Stats

WINDOW = 20
"""A point of the learning curve is the agreement over so many last decisions."""
_MAX_POINTS = 200
_FORGET = 10_000
Source = Literal["review", "feedback"]


async def put(
    session: AsyncSession,
    collection_id: uuid.UUID,
    image_sha256: str,
    source: Source,
    said: str | None,
    decision: Decision,
    label: str | None,
) -> Decision:
    """Store the last decision on a picture; returns how it counts.

    It is compared with the first prediction, made before the picture was taught: a prediction of a learned picture is
    no evidence.
    """
    counted = await session.scalar(
        text(
            "INSERT INTO feedback_outcomes AS o (collection_id, image_sha256, source, said, decision, label) "
            "VALUES (:collection, :image, :source, :said, :decision, :label) "
            "ON CONFLICT (collection_id, image_sha256) DO UPDATE SET label = excluded.label, "
            "decided_at = now(), decision = CASE WHEN excluded.label IS NULL THEN excluded.decision "
            "WHEN excluded.label = o.said THEN 'right' ELSE 'relabelled' END "
            "WHERE o.label IS DISTINCT FROM excluded.label OR o.label IS NULL RETURNING decision"
        ),
        {
            "collection": collection_id,
            "image": image_sha256,
            "source": source,
            "said": said,
            "decision": decision,
            "label": label,
        },
    )
    if counted is None:  # the same word as before, which stays
        counted = await session.scalar(
            text(
                "SELECT decision FROM feedback_outcomes WHERE collection_id = :collection AND image_sha256 = :image"
            ),
            {"collection": collection_id, "image": image_sha256},
        )
    return cast("Decision", counted)


async def remove(session: AsyncSession, collection_id: uuid.UUID, image_sha256: str) -> bool:
    """Remove the last decision on a picture; whether there was one."""
    gone = await session.scalar(
        text(
            "DELETE FROM feedback_outcomes WHERE collection_id = :collection AND image_sha256 = :image RETURNING id"
        ),
        {"collection": collection_id, "image": image_sha256},
    )
    return gone is not None


async def forget_old(session: AsyncSession, days: int) -> None:
    """Delete decisions that are too old to count."""
    await session.execute(
        text(
            "DELETE FROM feedback_outcomes WHERE id IN (SELECT id FROM feedback_outcomes "
            "WHERE decided_at < now() - make_interval(days => CAST(:days AS int)) LIMIT :limit)"
        ),
        {"days": days, "limit": _FORGET},
    )


async def summarise(session: AsyncSession, collection_id: uuid.UUID, waiting: int) -> Stats:
    """How often people agreed, and the curve of it in at most `_MAX_POINTS` points, the last one included."""
    rows = await session.execute(
        text(
            "SELECT decision, count(*) FROM feedback_outcomes WHERE collection_id = :collection GROUP BY decision"
        ),
        {"collection": collection_id},
    )
    counts = {str(decision): int(count) for decision, count in rows}
    decided = sum(count for decision, count in counts.items() if decision != "skip")
    points = await session.execute(
        text(
            "SELECT decided, agreement FROM ("  # noqa: S608 - a number of this file
            "SELECT row_number() OVER decisions AS decided, avg(CASE WHEN decision = 'right' THEN 1.0 ELSE 0.0 END) "
            f"OVER (decisions ROWS {WINDOW - 1} PRECEDING) AS agreement "
            "FROM feedback_outcomes WHERE collection_id = :collection AND decision <> 'skip' "
            "WINDOW decisions AS (ORDER BY decided_at, id)) points "
            "WHERE decided % :step = 0 OR decided = :decided ORDER BY decided"
        ),
        {"collection": collection_id, "step": -(-decided // _MAX_POINTS) or 1, "decided": decided},
    )
    return Stats(
        waiting=waiting,
        right=counts.get("right", 0),
        relabelled=counts.get("relabelled", 0),
        none=counts.get("none", 0),
        skipped=counts.get("skip", 0),
        curve=[AgreementPoint(int(at), float(agreement)) for at, agreement in points],
    )
