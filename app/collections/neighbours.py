"""What other rooms keep beside a collection's examples, asked in the caller's transaction.

`app.bootstrap` fills it in.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True)
class Neighbours:
    """Functions of the rooms that keep answer examples and datasets."""

    count_answers: Callable[[AsyncSession, Sequence[uuid.UUID]], Awaitable[Mapping[uuid.UUID, int]]]
    """Collection id -> answer examples; collections without any are left out."""
    images_of: Callable[[AsyncSession, uuid.UUID], Awaitable[set[str]]]
    """Hashes of the images that a collection's answer examples show."""
    shown: Sequence[Callable[[AsyncSession, Sequence[str]], Awaitable[set[str]]]]
    """Each tells which of these image hashes its room still shows, so that they must stay."""
