"""What happens when a collection is taught or unlearns: images checked, embedded, kept, committed, announced.

The order makes an answered example durable: the image on disk, then one transaction.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.quota import StorageQuota
from app.collections import listing, relabelling, repository, vectors
from app.collections.directory import Directory
from app.collections.embedding import ImageEmbedder
from app.collections.errors import CollectionExistsError, DefaultCollectionError, ExampleNotFoundError
from app.collections.listing import CollectionRow
from app.collections.neighbours import RoomHooks
from app.collections.relabelling import RelabelResult, RenameResult
from app.collections.repository import AddResult, NewExample
from app.collections.service import Recognition
from app.collections.tables import Collection
from app.errors import ConflictError, VisionError
from app.heads import LabelShares
from app.http.spool import Entry
from app.inference.engine.interface import Engine, ServedEncoder
from app.media import images
from app.media.errors import naming
from app.media.images import ImageLimits, StoredImage
from app.models.resolver import ModelResolver
from app.storage.blobs import BlobStore
from app.storage.database import DEFAULT_COLLECTION, Database

_ORPHAN_S = 3600.0
_CHUNK = 200
_CLOSE_S = 5.0

log = structlog.get_logger("app.collections")


@dataclass(eq=False)
class Learning:
    """Teaches, relabels and forgets examples, and changes collections."""

    database: Database
    registry: Engine
    models: ModelResolver
    directory: Directory
    recognition: Recognition
    embedder: ImageEmbedder
    blobs: BlobStore
    limits: ImageLimits
    pool: ThreadPoolExecutor
    neighbours: RoomHooks
    quota: StorageQuota
    _indexed: set[str] = field(default_factory=set, init=False)
    _cleaning: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    async def create(
        self, workspace: str, name: str, encoder: str | None, label_shares: LabelShares = "equal"
    ) -> CollectionRow:
        """Make a collection; raises CollectionExistsError, ModelNotFoundError and what loading raises."""
        word = self.models.default_encoder if encoder is None else self.models.get_encoder(encoder)
        bound = await self._admit(word)
        async with self.database.session() as session:
            if name == DEFAULT_COLLECTION or not await repository.create_collection(
                session, workspace, name, bound, label_shares
            ):
                raise CollectionExistsError
            row = (await listing.list_collections(session, workspace, self.neighbours, limit=1, name=name))[0]
        self.directory.learn(row.collection)
        return row

    async def page(
        self, workspace: str, *, limit: int, after: str = "", name: str | None = None
    ) -> list[CollectionRow]:
        """Collections by name, beginning after `after`; only the one called `name` where that is given."""
        async with self.database.session() as session:
            return await listing.list_collections(
                session, workspace, self.neighbours, limit=limit, after=after, name=name
            )

    async def expect_labels(self, workspace: str, name: str, label_shares: LabelShares) -> CollectionRow:
        """Set how often a collection's labels are expected, from the next answer on; raises CollectionNotFoundError."""
        await self.recognition.resolve_collection(workspace, name)
        async with self.database.session() as session:
            row = await repository.find_collection(session, workspace, name, lock=True)
            if row.label_shares != label_shares:
                row.label_shares = label_shares
                # heads are fitted again; before the first example there is none, and `default` still follows the
                # service's default encoder
                row.version += 1 if row.version else 0
            await session.flush()
            found = await listing.list_collections(session, workspace, self.neighbours, limit=1, name=name)
        self.directory.learn(row)
        await self.directory.announce(row)
        return found[0]

    async def drop(self, workspace: str, name: str) -> None:
        """Delete a collection with all it holds; raises DefaultCollectionError and CollectionNotFoundError.

        The images that nothing shows any more go in the background.
        """
        if name == DEFAULT_COLLECTION:
            raise DefaultCollectionError
        async with self.database.session() as session:
            row = await repository.find_collection(session, workspace, name, lock=True)
            hashes = await repository.image_hashes(session, row.id, self.neighbours)
            await session.execute(delete(Collection).where(Collection.id == row.id))
        self.directory.forget(workspace, name)
        await self.directory.announce(row, gone=True)
        self.drop_later(hashes)

    async def add(
        self,
        workspace: str,
        collection: str,
        label: str,
        description: str,
        entries: Sequence[Entry],
        *,
        replace: bool = False,
    ) -> list[AddResult]:
        """Teach images of one label, all of them or none; visible to the next request of this process.

        Args:
            replace: Whether the images lose the other labels that they have in this collection.

        Raises CollectionNotFoundError, WorkspaceFullError and what reading, embedding and keeping an image raises.
        """
        known = await self.recognition.resolve_collection(workspace, collection)
        stored = await asyncio.gather(
            *[self.normalise(entry, i, len(entries)) for i, entry in enumerate(entries)]
        )
        await self.quota.take(workspace, sum(len(image.bytes) for image in stored))
        async with self.registry.encoder(known.encoder) as live:
            await self._ensure_index(live)
            embedded = await self.embedder.embed(workspace, live, entries)
        contents = {hashlib.sha256(image.bytes).hexdigest(): image.bytes for image in stored}
        hashes = [hashlib.sha256(image.bytes).hexdigest() for image in stored]
        async with self.database.session() as session:
            await repository.lock_images(session, hashes)
            await asyncio.gather(*[self.blobs.put(sha256, data) for sha256, data in contents.items()])
            row = await repository.find_collection(session, workspace, collection, lock=True)
            if row.id != known.id or row.encoder != known.encoder:
                self.directory.forget(workspace, collection)
                raise ConflictError("The collection was replaced meanwhile: try again.")
            added = await repository.add_examples(
                session,
                row,
                label,
                description,
                [
                    NewExample(sha256, vectors.to_sql(vector), len(contents[sha256]))
                    for sha256, vector in zip(hashes, embedded.vectors, strict=True)
                ],
                live.key,
            )
            added = await repository.settle_labels(session, row, label, added, replace=replace)
        self.directory.learn(row)
        await self.directory.announce(row)
        return added

    async def remove(self, workspace: str, collection: str, example_id: uuid.UUID) -> None:
        """Unlearn one example; raises CollectionNotFoundError and ExampleNotFoundError."""
        async with self._changing(workspace, collection) as (session, row):
            images = await repository.remove_examples(session, row, [example_id])
            if not images:
                raise ExampleNotFoundError
        self.drop_later(images)

    async def remove_all(
        self, workspace: str, collection: str, ids: Sequence[uuid.UUID]
    ) -> tuple[RelabelResult, int]:
        """Unlearn the examples, all of them or none; what became of them, and the collection's version.

        Raises CollectionNotFoundError and ExampleNotFoundError.
        """
        async with self._changing(workspace, collection) as (session, row):
            found = await relabelling.remove_all(session, row, ids)
        self.drop_later(found.images)
        return found, row.version

    async def relabel(
        self,
        workspace: str,
        collection: str,
        ids: Sequence[uuid.UUID],
        label: str,
        *,
        merge: bool = False,
    ) -> tuple[RelabelResult, int]:
        """Give the examples another label, all of them or none; what became of them, and the collection's version.

        Raises CollectionNotFoundError and what `relabelling.move_examples` raises.
        """
        async with self._changing(workspace, collection) as (session, row):
            found = await relabelling.move_examples(session, row, ids, label, merge=merge)
        self.drop_later(found.images)
        return found, row.version

    async def rename_label(
        self, workspace: str, collection: str, old: str, new: str, *, merge: bool = False
    ) -> tuple[RenameResult, int]:
        """Give a label another name, or with `merge` its examples to the label of that name; and the collection's
        version. Raises CollectionNotFoundError and what `relabelling.rename_label` raises.
        """
        async with self._changing(workspace, collection) as (session, row):
            found = await relabelling.rename_label(session, row, old, new, merge=merge)
        self.drop_later(found.images)
        return found, row.version

    @asynccontextmanager
    async def _changing(
        self, workspace: str, collection: str
    ) -> AsyncIterator[tuple[AsyncSession, Collection]]:
        """A transaction that changes a collection, which is locked; what it made is known to everybody after it."""
        await self.recognition.resolve_collection(workspace, collection)
        async with self.database.session() as session:
            row = await repository.find_collection(session, workspace, collection, lock=True)
            before = row.version
            yield session, row
        self.directory.learn(row)
        if row.version != before:
            await self.directory.announce(row)

    async def sweep(self) -> int:
        """Drop images that no example shows: what a process killed between image and commit left behind."""
        dropped = await self._drop_images(await self.blobs.older_than(_ORPHAN_S))
        if dropped:
            log.info("images without examples were dropped", count=dropped)
        return dropped

    async def close(self) -> None:
        """Give images that are being dropped a moment; the sweep of a later start finds what is left."""
        if self._cleaning:
            _, left = await asyncio.wait(self._cleaning, timeout=_CLOSE_S)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def normalise(self, entry: Entry, index: int, count: int) -> StoredImage:
        """An upload as it is kept; raises what `images.normalise_for_storage` raises, naming which of several."""

        def work() -> StoredImage:
            with naming(index, count):
                return images.normalise_for_storage(entry.read(), self.limits)

        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    def drop_later(self, hashes: Sequence[str]) -> None:
        """Drop those of the images that no example shows any more, in the background."""

        async def drop() -> None:
            try:
                await self._drop_images(hashes)
            except (VisionError, SQLAlchemyError, OSError) as error:
                log.warning("images could not be dropped yet", reason=type(error).__name__)

        task = asyncio.create_task(drop())
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)

    async def _drop_images(self, hashes: Sequence[str]) -> int:
        """Drop the images that no example shows; nobody can begin to show one of them meanwhile."""
        dropped = 0
        for start in range(0, len(hashes), _CHUNK):
            chunk = hashes[start : start + _CHUNK]
            async with self.database.session() as session:
                orphans = await repository.find_unreferenced(session, chunk, self.neighbours)
                if not orphans:
                    continue
                await repository.lock_images(session, orphans)
                for sha256 in await repository.find_unreferenced(session, orphans, self.neighbours):
                    await self.blobs.delete(sha256)
                    dropped += 1
        return dropped

    async def _admit(self, reference: str) -> str:
        async with self.registry.encoder(reference) as live:
            await self._ensure_index(live)
        return reference

    async def _ensure_index(self, live: ServedEncoder) -> None:
        if live.key in self._indexed:
            return
        async with self.database.session() as session:
            await vectors.ensure_index(session, live.key, live.dim)
        self._indexed.add(live.key)
