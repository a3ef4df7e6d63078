"""What other rooms keep beside a collection's examples, asked in the caller's transaction.

`app.bootstrap` fills it in.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True)
class ReviewRetention:
    """A collection, and what it may keep for review."""

    id: uuid.UUID
    keep: int | None
    """So many pictures; None forgets all of them."""
    days: int | None
    """For so long."""


@dataclass(frozen=True)
class RoomHooks:
    """Functions of the rooms that keep answer examples, datasets and pictures for review."""

    count_answers: Callable[[AsyncSession, Sequence[uuid.UUID]], Awaitable[Mapping[uuid.UUID, int]]]
    """Collection id -> answer examples; collections without any are left out."""
    image_finders: Sequence[Callable[[AsyncSession, uuid.UUID], Awaitable[set[str]]]]
    """Each tells the hashes of the images that its room shows for a collection."""
    shown_finders: Sequence[Callable[[AsyncSession, Sequence[str]], Awaitable[set[str]]]]
    """Each tells which of these image hashes its room still shows, so that they must stay."""
    trim_review: Callable[[AsyncSession, ReviewRetention], Awaitable[list[str]]]
    """Forgets what a collection keeps for review beyond what it may now; hashes of the images of what went."""
