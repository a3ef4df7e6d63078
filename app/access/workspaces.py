"""Rows of workspaces, for rooms whose own rows hang below them; in the caller's transaction."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.tables import Workspace


async def ensure_workspace(session: AsyncSession, name: str) -> None:
    """Make a workspace unless there is one of that name."""
    await session.execute(insert(Workspace).values(name=name).on_conflict_do_nothing())


async def lock_workspace(session: AsyncSession, name: str) -> None:
    """Let others that lock it wait until the transaction ends; foreign keys to the row do not wait."""
    await session.execute(
        select(Workspace.name).where(Workspace.name == name).with_for_update(key_share=True)
    )
