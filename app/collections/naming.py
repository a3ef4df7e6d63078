"""Which collections there are, for the list of models."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from app.collections import repository
from app.collections.service import Recognition
from app.collections.tables import Collection
from app.models.aliases import NamedCollection
from app.storage.database import Database

MAX_LISTED_COLLECTIONS = 1_000


@dataclass(frozen=True)
class CollectionNames:
    """An `app.models.aliases.Collections`."""

    database: Database
    recognition: Recognition

    async def all(self, workspace: str) -> list[NamedCollection]:
        """By name, as many as `MAX_LISTED_COLLECTIONS`."""
        query = (
            select(Collection.name, Collection.encoder)
            .where(repository.in_workspace(workspace))
            .order_by(Collection.name)
            .limit(MAX_LISTED_COLLECTIONS)
        )
        async with self.database.session() as session:
            rows = (await session.execute(query)).all()
        return [NamedCollection(name, self.recognition.name_encoder(encoder)) for name, encoder in rows]

    async def find(self, workspace: str, name: str) -> NamedCollection:
        """Raises CollectionNotFoundError."""
        known = await self.recognition.resolve_collection(workspace, name)
        return NamedCollection(known.name, self.recognition.name_encoder(known.encoder))
