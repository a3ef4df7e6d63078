"""Pictures kept for review in all collections of a workspace, in the caller's transaction."""

from __future__ import annotations

import uuid

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_WAITING = (
    "FROM review_pictures p JOIN collections c ON c.id = p.collection_id WHERE c.workspace = :workspace "
    "AND p.decision IS NULL AND p.created_at >= now() - make_interval(days => CAST(c.review_days AS int))"
)
"""Pictures that wait in a workspace, whose constant parts alone make the statement."""


async def page(session: AsyncSession, workspace: str, *, limit: int, offset: int) -> dict[uuid.UUID, str]:
    """Pictures that wait in any collection of a workspace, the least sure first, and the collection's name of each."""
    rows = await session.execute(
        text(f"SELECT p.id, c.name {_WAITING} ORDER BY p.place, p.id LIMIT :limit OFFSET :offset"),
        {"workspace": workspace, "limit": limit, "offset": offset},
    )
    return dict(rows.all())


async def count(session: AsyncSession, workspace: str) -> int:
    """How many pictures wait in all collections of a workspace."""
    query = text(f"SELECT count(*) {_WAITING}")
    return int(await session.scalar(query, {"workspace": workspace}) or 0)


async def find_collection_of(session: AsyncSession, workspace: str, picture: uuid.UUID) -> str | None:
    """The name of the workspace's collection that keeps a picture, decided or not."""
    name: str | None = await session.scalar(
        text(
            "SELECT c.name FROM review_pictures p JOIN collections c ON c.id = p.collection_id "
            "WHERE c.workspace = :workspace AND p.id = :picture"
        ),
        {"workspace": workspace, "picture": picture},
    )
    return name


async def count_stored_bytes(session: AsyncSession, workspace: str) -> int:
    """Bytes of the workspace's pictures kept for review; one that was taught counts with the examples."""
    total = await session.scalar(
        text(
            "SELECT COALESCE(sum(p.bytes), 0) FROM review_pictures p JOIN collections c ON c.id = p.collection_id "
            "WHERE c.workspace = :workspace "
            "AND NOT EXISTS (SELECT FROM feedback_examples f WHERE f.example_id = p.example_id)"
        ),
        {"workspace": workspace},
    )
    return int(total or 0)
