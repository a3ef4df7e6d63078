"""Files that belong to a model, whichever job or upload left them; in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.jobs.spec import FileRef
from app.jobs.tables import Artifact

__all__ = ["Artifact", "artifacts_of", "count_stored_bytes", "drop_artifacts", "keep_artifacts"]


async def artifacts_of(session: AsyncSession, workspace: str, model: str | None = None) -> list[Artifact]:
    """A model's files by name; those of all models of the workspace without one."""
    query = select(Artifact).where(Artifact.workspace == workspace).order_by(Artifact.name)
    return list(
        await session.scalars(
            query.where(Artifact.model.is_not(None) if model is None else Artifact.model == model)
        )
    )


async def count_stored_bytes(session: AsyncSession, workspace: str) -> int:
    """Bytes of the files that the workspace's jobs and uploads left behind."""
    query = select(func.coalesce(func.sum(Artifact.size), 0)).where(Artifact.workspace == workspace)
    return int(await session.scalar(query) or 0)


def keep_artifacts(
    session: AsyncSession, workspace: str, model: str, files: Sequence[FileRef]
) -> list[Artifact]:
    """Note that these files of the store belong to a model."""
    rows = [
        Artifact(
            workspace=workspace,
            model=model,
            name=file.name,
            key=file.key,
            sha256=file.sha256,
            size=file.size,
        )
        for file in files
    ]
    session.add_all(rows)
    return rows


async def drop_artifacts(session: AsyncSession, workspace: str, model: str) -> list[str]:
    """Forget a model's files; their keys in the file store."""
    gone = delete(Artifact).where(Artifact.workspace == workspace, Artifact.model == model)
    return list(await session.scalars(gone.returning(Artifact.key)))
