"""Functions of other rooms that store images for collections, called in the caller's transaction.

`app.bootstrap` fills it in.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True)
class ReviewRetention:
    """How many pictures a collection keeps for review, and how long."""

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
    """Each returns the hashes of the images that its room uses for a collection."""
    shown_finders: Sequence[Callable[[AsyncSession, Sequence[str]], Awaitable[set[str]]]]
    """Each returns those of the image hashes that its room still uses, which must stay."""
    trim_review: Callable[[AsyncSession, ReviewRetention], Awaitable[list[str]]]
    """Forgets what a collection keeps for review beyond what it may now; hashes of the images of what went."""
