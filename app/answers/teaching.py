"""What happens when an answer is taught or forgotten: image checked, embedded, kept, committed."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field

from app.access.quota import StorageQuota
from app.answers import repository
from app.answers.errors import AnswerExampleNotFoundError
from app.answers.repository import NewAnswer
from app.answers.tables import AnswerExample
from app.collections import vectors
from app.collections.embedding import ImageEmbedder
from app.collections.learning import Learning
from app.collections.service import Recognition, find_collection, lock_images
from app.errors import ConflictError
from app.http.spool import Entry
from app.inference.engine.interface import Engine
from app.storage.blobs import BlobStore
from app.storage.database import Database


@dataclass(eq=False)
class Teaching:
    """Teaches and forgets answer examples."""

    database: Database
    registry: Engine
    recognition: Recognition
    learning: Learning
    embedder: ImageEmbedder
    blobs: BlobStore
    quota: StorageQuota = field(kw_only=True)
    deadline_s: float = field(kw_only=True)

    async def add(
        self, workspace: str, collection: str, entry: Entry, question: str, answer: str
    ) -> tuple[AnswerExample, bool]:
        """Keep an answer example, and whether it is new; the same image and question gets the new answer.

        Raises CollectionNotFoundError, WorkspaceFullError and what reading, embedding and keeping an image raises.
        """
        known = await self.recognition.resolve_collection(workspace, collection)
        stored = await self.learning.normalise(entry, 0, 1)
        await self.quota.take(workspace, len(stored.bytes))
        async with self.registry.encoder(known.encoder) as live:
            image_vector = (await self.embedder.embed(workspace, live, [entry])).vectors[0]
            question_vector = (await live.embed_questions([question], deadline_s=self.deadline_s))[0]
            key = live.key
        sha256 = hashlib.sha256(stored.bytes).hexdigest()
        async with self.database.session() as session:
            await lock_images(session, [sha256])
            await self.blobs.put(sha256, stored.bytes)
            row = await find_collection(session, workspace, collection, lock=True)
            if row.id != known.id or row.encoder != known.encoder:
                raise ConflictError("The collection was replaced meanwhile: try again.")
            new = NewAnswer(
                sha256,
                question,
                answer,
                key,
                vectors.to_sql(image_vector),
                vectors.to_sql(question_vector),
                len(stored.bytes),
            )
            return await repository.put(session, row.id, new)

    async def list(
        self, workspace: str, collection: str, *, limit: int, after: uuid.UUID | None
    ) -> list[AnswerExample]:
        """Answer examples by id; raises CollectionNotFoundError."""
        known = await self.recognition.resolve_collection(workspace, collection)
        async with self.database.session() as session:
            return await repository.page(session, known.id, limit=limit, after=after)

    async def find(self, workspace: str, collection: str, example_id: uuid.UUID) -> AnswerExample:
        """One answer example; raises CollectionNotFoundError and AnswerExampleNotFoundError."""
        known = await self.recognition.resolve_collection(workspace, collection)
        async with self.database.session() as session:
            row = await repository.find(session, known.id, example_id)
        if row is None:
            raise AnswerExampleNotFoundError
        return row

    async def remove(self, workspace: str, collection: str, example_id: uuid.UUID) -> None:
        """Forget one answer example; raises CollectionNotFoundError and AnswerExampleNotFoundError."""
        known = await self.recognition.resolve_collection(workspace, collection)
        async with self.database.session() as session:
            sha256 = await repository.remove(session, known.id, example_id)
        if sha256 is None:
            raise AnswerExampleNotFoundError
        self.learning.drop_later([sha256])
