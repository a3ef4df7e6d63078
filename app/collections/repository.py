"""Collections, labels and examples as rows; every look-up is held to a workspace in one place."""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass

from sqlalchemy import ARRAY, ColumnElement, Row, Uuid, and_, any_, delete, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.workspaces import ensure_workspace
from app.collections.errors import CollectionNotFoundError
from app.collections.neighbours import RoomHooks
from app.collections.tables import Collection, Example, ExampleVector, Label, Removal
from app.errors import shorten_name, suggest_names
from app.heads import LabelShares
from app.http.names import COLLECTION_NAMES, is_collection_name

_MAX_NAMES = 2_000
"""So many collections are compared with a name that means none."""
_KEEP_REMOVALS = text("interval '10 minutes'")


def in_workspace(workspace: str) -> ColumnElement[bool]:
    """The one filter that keeps workspaces apart; everything else hangs below a collection."""
    return Collection.workspace == workspace


async def find_collection(
    session: AsyncSession, workspace: str, name: str, *, lock: bool = False
) -> Collection:
    """The collection of that name, locked against other writers if asked; raises CollectionNotFoundError."""
    query = select(Collection).where(in_workspace(workspace), Collection.name == name)
    found = await session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise await absent_collection(session, workspace, name)
    return found


async def absent_collection(session: AsyncSession, workspace: str, name: str) -> CollectionNotFoundError:
    """The failure of a name that means no collection; it names those that are near, and how one is made."""
    names = await session.scalars(
        select(Collection.name).where(in_workspace(workspace)).order_by(Collection.name).limit(_MAX_NAMES)
    )
    others = suggest_names(name, list(names))
    how = (
        f"POST /v1/collections with the name '{name}' makes it"
        if is_collection_name(name)
        else COLLECTION_NAMES
    )
    return CollectionNotFoundError(f"There is no collection '{shorten_name(name)}': {others} {how}.")


async def names_of(session: AsyncSession, ids: Set[uuid.UUID]) -> dict[uuid.UUID, str]:
    """What the collections of these ids are called; those still there."""
    rows = await session.execute(select(Collection.id, Collection.name).where(Collection.id.in_(ids)))
    return dict(rows.all())


async def create_collection(
    session: AsyncSession, workspace: str, name: str, encoder: str, label_shares: LabelShares = "equal"
) -> bool:
    """Make a collection, and its workspace; False when there is one of that name."""
    await ensure_workspace(session, workspace)
    made = await session.execute(
        insert(Collection)
        .values(
            id=uuid.uuid4(),
            workspace=workspace,
            name=name,
            encoder=encoder,
            version=0,
            removals_since=0,
            label_shares=label_shares,
        )
        .on_conflict_do_nothing(index_elements=["workspace", "name"])
        .returning(Collection.id)
    )
    return made.scalar_one_or_none() is not None


async def lock_images(session: AsyncSession, hashes: Sequence[str]) -> None:
    """Keep others from adding or dropping these images until the transaction ends.

    In the order of their keys, so that two transactions never wait for one another.
    """
    keys = sorted({_lock_key(sha256) for sha256 in hashes})
    await session.execute(
        text(
            "SELECT pg_advisory_xact_lock(key) FROM "
            "(SELECT unnest(CAST(:keys AS bigint[])) AS key ORDER BY key OFFSET 0) AS wanted"
        ),
        {"keys": keys},
    )


@dataclass(frozen=True)
class NewExample:
    """What an image became: its content's hash, its vector as SQL text and the bytes of the stored image."""

    image_sha256: str
    vector: str
    bytes: int


@dataclass(frozen=True)
class AddResult:
    """An example after adding; `created` is False where it was there before."""

    id: uuid.UUID
    image_sha256: str
    created: bool
    other_labels: tuple[str, ...] = ()
    """Labels of the collection that the same image teaches besides."""
    replaced_labels: tuple[str, ...] = ()
    """Labels that the image was taken away from."""


async def add_examples(
    session: AsyncSession,
    collection: Collection,
    label: str,
    description: str,
    examples: Sequence[NewExample],
    encoder_key: str,
) -> list[AddResult]:
    """Insert what is not there yet and raise the version if anything changed; `collection` is locked."""
    version = collection.version + 1
    label_id, changed = await put_label(session, collection.id, label, description)
    added = []
    for example in examples:
        created = await session.scalar(
            insert(Example)
            .values(
                id=uuid.uuid4(),
                collection_id=collection.id,
                label_id=label_id,
                image_sha256=example.image_sha256,
                version=version,
                bytes=example.bytes,
            )
            .on_conflict_do_nothing(index_elements=["collection_id", "label_id", "image_sha256"])
            .returning(Example.id)
        )
        example_id = created or await session.scalar(
            select(Example.id).where(
                Example.collection_id == collection.id,
                Example.label_id == label_id,
                Example.image_sha256 == example.image_sha256,
            )
        )
        if example_id is None:
            raise RuntimeError("an example vanished while its collection was locked")
        await put_vector(session, collection.id, example_id, encoder_key, example.vector)
        changed |= created is not None
        added.append(AddResult(example_id, example.image_sha256, created is not None))
    if changed:
        collection.version = version
    return added


async def settle_labels(
    session: AsyncSession, collection: Collection, label: str, added: Sequence[AddResult], *, replace: bool
) -> list[AddResult]:
    """The same with the other labels that each image has, which `replace` takes away; `collection` is locked."""
    shown = [example.image_sha256 for example in added]
    rows = await session.execute(
        select(Example.image_sha256, Label.name, Example.id)
        .join(Label, Label.id == Example.label_id)
        .where(Example.collection_id == collection.id, Example.image_sha256.in_(shown), Label.name != label)
        .order_by(Label.name)
    )
    others: defaultdict[str, list[str]] = defaultdict(list)
    ids = []
    for sha256, name, example_id in rows.all():
        others[sha256].append(name)
        ids.append(example_id)
    if replace:
        await remove_examples(session, collection, ids)
    found = [tuple(others.get(example.image_sha256, ())) for example in added]
    return [
        dataclasses.replace(example, replaced_labels=names)
        if replace
        else dataclasses.replace(example, other_labels=names)
        for example, names in zip(added, found, strict=True)
    ]


async def find_labels_of(session: AsyncSession, collection_id: uuid.UUID, image_sha256: str) -> list[str]:
    """The labels that an image has in a collection, by name."""
    query = (
        select(Label.name)
        .join(Example, Example.label_id == Label.id)
        .where(Example.collection_id == collection_id, Example.image_sha256 == image_sha256)
    )
    return list(await session.scalars(query.order_by(Label.name)))


async def put_vector(
    session: AsyncSession, collection_id: uuid.UUID, example_id: uuid.UUID, key: str, vector: str
) -> None:
    """Keep what an encoder made of an example, unless it is there already; none where the example is gone."""
    await session.execute(
        text(
            "INSERT INTO example_vectors (example_id, encoder, collection_id, vector) "
            "SELECT id, :key, collection_id, CAST(:vector AS vector) FROM examples "
            "WHERE id = :example AND collection_id = :collection ON CONFLICT DO NOTHING"
        ),
        {"example": example_id, "key": key, "collection": collection_id, "vector": vector},
    )


async def put_label(
    session: AsyncSession, collection_id: uuid.UUID, name: str, description: str
) -> tuple[int, bool]:
    """The label's id, and whether its description changed; an empty description leaves the old one."""
    await session.execute(
        insert(Label)
        .values(collection_id=collection_id, name=name, description="")
        .on_conflict_do_nothing(index_elements=["collection_id", "name"])
    )
    row = await session.scalar(select(Label).where(Label.collection_id == collection_id, Label.name == name))
    if row is None:
        raise RuntimeError("a label vanished while its collection was locked")
    changed = bool(description) and row.description != description
    if changed:
        row.description = description
    return row.id, changed


async def remove_examples(
    session: AsyncSession, collection: Collection, ids: Sequence[uuid.UUID]
) -> list[str]:
    """Remove those of the examples that are there, labels with their last ones (their images' hashes); `collection` is
    locked.
    """
    if not await note_removals(session, collection, ids):
        return []
    gone = await session.execute(
        delete(Example).where(are(collection, ids)).returning(Example.image_sha256, Example.label_id)
    )
    rows = gone.all()
    await drop_empty_labels(session, {label_id for _, label_id in rows})
    return [sha256 for sha256, _ in rows]


async def note_removals(session: AsyncSession, collection: Collection, ids: Sequence[uuid.UUID]) -> bool:
    """Raise the version and note what the examples take along as they go, or change their label, for other processes;
    False where none of them is there. `collection` is locked.

    Notes are kept for ten minutes; a process that looks later reads everything.
    """
    if not await session.scalar(select(func.count()).where(are(collection, ids))):
        return False
    collection.version += 1
    await session.execute(
        text(
            "INSERT INTO removals"
            " (collection_id, version, added_version, example_id, label_id, encoder, vector) "
            "SELECT e.collection_id, :version, e.version, e.id, e.label_id, v.encoder, v.vector "
            "FROM example_vectors v JOIN examples e ON e.id = v.example_id "
            "WHERE e.collection_id = :collection AND e.id = ANY(CAST(:ids AS uuid[]))"
        ),
        {"version": collection.version, "collection": collection.id, "ids": list(ids)},
    )
    old = and_(Removal.collection_id == collection.id, Removal.removed_at < func.now() - _KEEP_REMOVALS)
    purged = await session.scalar(select(func.max(Removal.version)).where(old))
    if purged is not None:
        await session.execute(
            delete(Removal).where(Removal.collection_id == collection.id, Removal.version <= purged)
        )
        collection.removals_since = purged
    return True


async def drop_empty_labels(session: AsyncSession, label_ids: Set[int]) -> None:
    """Remove those of the labels that have no example left."""
    taught = select(Example.id).where(Example.label_id == Label.id).exists()
    await session.execute(delete(Label).where(Label.id.in_(label_ids), ~taught))


def are(collection: Collection, ids: Sequence[uuid.UUID]) -> ColumnElement[bool]:
    """Whether an example is one of these, of the collection."""
    # an array is one parameter, however many ids there are
    return and_(Example.collection_id == collection.id, Example.id == any_(literal(list(ids), ARRAY(Uuid))))


async def find_unreferenced(session: AsyncSession, hashes: Sequence[str], hooks: RoomHooks) -> list[str]:
    """Those of the images that no example, and nothing of another room, of any workspace shows."""
    shown = set(await session.scalars(select(Example.image_sha256).where(Example.image_sha256.in_(hashes))))
    for find_shown in hooks.shown_finders:
        shown |= await find_shown(session, hashes)
    return [sha256 for sha256 in hashes if sha256 not in shown]


async def image_hashes(session: AsyncSession, collection_id: uuid.UUID, hooks: RoomHooks) -> list[str]:
    """Every image that the collection shows."""
    query = select(Example.image_sha256).where(Example.collection_id == collection_id)
    hashes = set(await session.scalars(query))
    for find_images in hooks.image_finders:
        hashes |= await find_images(session, collection_id)
    return list(hashes)


async def count_stored_bytes(session: AsyncSession, workspace: str) -> int:
    """Bytes of the images that the workspace's examples show, each as often as it is shown."""
    query = select(func.coalesce(func.sum(Example.bytes), 0)).join(Collection).where(in_workspace(workspace))
    return int(await session.scalar(query) or 0)


async def missing_vectors(
    session: AsyncSession,
    collection_id: uuid.UUID,
    key: str,
    *,
    limit: int,
    after: uuid.UUID,
) -> Sequence[Row[uuid.UUID, str]]:
    """Examples (`id`, `image_sha256`) that this encoder has not embedded yet, by id, beginning after `after`."""
    has = select(ExampleVector.example_id).where(
        ExampleVector.example_id == Example.id, ExampleVector.encoder == key
    )
    rows = await session.execute(
        select(Example.id, Example.image_sha256)
        .where(Example.collection_id == collection_id, Example.id > after, ~has.exists())
        .order_by(Example.id)
        .limit(limit)
    )
    return rows.all()


def _lock_key(image_sha256: str) -> int:
    digest = hashlib.sha256(b"image" + image_sha256.encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
