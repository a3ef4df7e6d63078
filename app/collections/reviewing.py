"""Whether a collection keeps its least sure pictures for review, how many and how long."""

from __future__ import annotations

from dataclasses import dataclass

from app.collections import listing, repository
from app.collections.learning import Learning
from app.collections.listing import CollectionRow
from app.collections.neighbours import ReviewRetention


@dataclass(frozen=True)
class ReviewChoice:
    """How many pictures are kept, and for how many days."""

    keep: int
    days: int


async def set_review(
    learning: Learning, workspace: str, name: str, choice: ReviewChoice | None
) -> CollectionRow:
    """Keep pictures for review from the next answer on; None keeps none, and forgets those that are kept.

    What goes beyond a lower choice is forgotten at once. Raises CollectionNotFoundError.
    """
    await learning.recognition.resolve_collection(workspace, name)
    async with learning.database.session() as session:
        row = await repository.find_collection(session, workspace, name, lock=True)
        row.review_keep = None if choice is None else choice.keep
        row.review_days = None if choice is None else choice.days
        await session.flush()
        kept = ReviewRetention(row.id, row.review_keep, row.review_days)
        forgotten = await learning.neighbours.trim_review(session, kept)
        found = await listing.list_collections(session, workspace, learning.neighbours, limit=1, name=name)
    learning.directory.learn(row)
    await learning.directory.announce(row)
    learning.drop_later(forgotten)
    return found[0]
