"""Examples created by feedback, removed when the feedback is undone; in the caller's transaction.

Examples that were taught directly stay. Teaching the same picture the same label again creates no second example and
does not change which of them feedback created.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.collections.service import Collection, remove_examples


@dataclass(frozen=True)
class RemovedExamples:
    """The result of removing the examples that feedback created of a picture."""

    labels: tuple[str, ...] = ()
    """The labels that the picture lost."""
    images: tuple[str, ...] = ()
    """Hashes of images that may have lost their last use."""


async def note(session: AsyncSession, examples: Sequence[uuid.UUID]) -> None:
    """Record that feedback created these examples."""
    if examples:
        await session.execute(
            text(
                "INSERT INTO feedback_examples (example_id) SELECT unnest(CAST(:examples AS uuid[])) "
                "ON CONFLICT DO NOTHING"
            ),
            {"examples": list(examples)},
        )


async def forget(session: AsyncSession, collection_row: Collection, image_sha256: str) -> RemovedExamples:
    """Remove the examples that feedback created of a picture; `collection_row` is locked."""
    rows = await session.execute(
        text(
            "SELECT e.id, l.name FROM feedback_examples f JOIN examples e ON e.id = f.example_id "
            "JOIN labels l ON l.id = e.label_id "
            "WHERE e.collection_id = :collection AND e.image_sha256 = :image ORDER BY l.name"
        ),
        {"collection": collection_row.id, "image": image_sha256},
    )
    found = rows.all()
    if not found:
        return RemovedExamples()
    images = await remove_examples(session, collection_row, [example for example, _ in found])
    return RemovedExamples(tuple(name for _, name in found), tuple(images))
