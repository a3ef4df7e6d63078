"""Examples that get another label, and labels that get another name, in the caller's transaction."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ARRAY, Text, any_, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.collections import repository
from app.collections.errors import (
    ExampleExistsError,
    ExampleNotFoundError,
    LabelExistsError,
    LabelNotFoundError,
)
from app.collections.tables import Collection, Example, Label
from app.errors import shorten_name, suggest_names

_MAX_NAMED_IDS = 3
_MAX_NAMES = 2_000
"""So many labels are compared with a name that means none."""


@dataclass(frozen=True)
class RelabelResult:
    """The result of changing several examples."""

    changed: tuple[uuid.UUID, ...] = ()
    """Those that have another label than before."""
    unchanged: tuple[uuid.UUID, ...] = ()
    """Those that had the label already."""
    removed: tuple[uuid.UUID, ...] = ()
    """Those that are gone."""
    images: tuple[str, ...] = ()
    """Hashes of the images of those that are gone."""


@dataclass(frozen=True)
class RenameResult:
    """A label after it got another name."""

    label: str
    description: str
    examples: int
    removed: tuple[uuid.UUID, ...] = ()
    """Examples that are gone, since the other label had their images already."""
    images: tuple[str, ...] = ()


async def move_examples(
    session: AsyncSession,
    collection: Collection,
    ids: Sequence[uuid.UUID],
    label: str,
    *,
    merge: bool = False,
) -> RelabelResult:
    """Give the examples the label, which is made where it is new; all of them or none. `collection` is locked.

    Args:
        merge: Whether of an image that has the label already the example given here is removed.

    Raises ExampleNotFoundError, and ExampleExistsError where an image has the label already and is not merged.
    """
    await _expect_all(session, collection, ids)
    label_id, _ = await repository.put_label(session, collection.id, label, "")
    rows = (
        await session.execute(
            select(Example.id, Example.label_id, Example.image_sha256)
            .where(repository.are(collection, ids))
            .order_by(Example.created_at, Example.id)
        )
    ).all()
    moving = [row for row in rows if row.label_id != label_id]
    taken = await _examples_of(session, label_id, [row.image_sha256 for row in moving])
    going: list[uuid.UUID] = []
    for row in moving:
        other = taken.setdefault(row.image_sha256, row.id)
        if other == row.id:
            continue
        if not merge:
            raise ExampleExistsError(
                f"The examples {row.id} and {other} show the same image, which has the label '{shorten_name(label)}'"
                " only once: delete one of the two. Nothing was changed."
            )
        going.append(row.id)
    staying = [row.id for row in moving if row.id not in set(going)]
    images = await repository.remove_examples(session, collection, going)
    if staying:
        await repository.note_removals(session, collection, staying)
        await session.execute(
            update(Example)
            .where(repository.are(collection, staying))
            .values(label_id=label_id, version=collection.version)
        )
        await repository.drop_empty_labels(session, {row.label_id for row in moving})
    same = tuple(row.id for row in rows if row.label_id == label_id)
    return RelabelResult(tuple(staying), same, tuple(going), tuple(images))


async def remove_all(
    session: AsyncSession, collection: Collection, ids: Sequence[uuid.UUID]
) -> RelabelResult:
    """Remove the examples, all of them or none; `collection` is locked. Raises ExampleNotFoundError."""
    await _expect_all(session, collection, ids)
    images = await repository.remove_examples(session, collection, ids)
    return RelabelResult(removed=tuple(ids), images=tuple(images))


async def rename_label(
    session: AsyncSession, collection: Collection, old: str, new: str, *, merge: bool = False
) -> RenameResult:
    """Call a label `new`; where there is one of that name, `merge` gives it the examples of `old`, and its description
    where it has none. `collection` is locked.

    Raises LabelNotFoundError, and LabelExistsError without `merge`.
    """
    row = await _find_label(session, collection, old)
    if row is None:
        raise await _absent_label(session, collection, old)
    target = row if old == new else await _find_label(session, collection, new)
    if target is None:
        row.name = new
        collection.version += 1
    elif target is not row:
        if not merge:
            raise LabelExistsError(
                f"There is a label '{shorten_name(new)}' already, with {await _count(session, target.id)} examples:"
                " send `merge: true` to put the two together, or choose another name."
            )
        target.description = target.description or row.description
        moved = await _examples_of(session, row.id)
        changed = await move_examples(session, collection, list(moved.values()), new, merge=True)
        return RenameResult(
            new, target.description, await _count(session, target.id), changed.removed, changed.images
        )
    await session.flush()
    return RenameResult(new, row.description, await _count(session, row.id))


async def _expect_all(session: AsyncSession, collection: Collection, ids: Sequence[uuid.UUID]) -> None:
    query = select(Example.id).where(repository.are(collection, ids))
    found = set(await session.scalars(query))
    absent = [str(example_id) for example_id in ids if example_id not in found]
    if not absent:
        return
    more = f" and {len(absent) - _MAX_NAMED_IDS} more" if len(absent) > _MAX_NAMED_IDS else ""
    raise ExampleNotFoundError(
        f"There is no example {', '.join(absent[:_MAX_NAMED_IDS])}{more} in the collection '{collection.name}'."
        f" Nothing was changed: GET /v1/collections/{collection.name}/examples lists the ids."
    )


async def _examples_of(
    session: AsyncSession, label_id: int, hashes: Sequence[str] | None = None
) -> dict[str, uuid.UUID]:
    """A label's examples by their images; only of these images where they are given."""
    query = select(Example.image_sha256, Example.id).where(Example.label_id == label_id)
    if hashes is not None:
        query = query.where(Example.image_sha256 == any_(literal(list(hashes), ARRAY(Text))))
    return dict((await session.execute(query)).all())


async def _find_label(session: AsyncSession, collection: Collection, name: str) -> Label | None:
    found: Label | None = await session.scalar(
        select(Label).where(Label.collection_id == collection.id, Label.name == name)
    )
    return found


async def _absent_label(session: AsyncSession, collection: Collection, name: str) -> LabelNotFoundError:
    names = await session.scalars(
        select(Label.name).where(Label.collection_id == collection.id).order_by(Label.name).limit(_MAX_NAMES)
    )
    others = suggest_names(name, list(names))
    return LabelNotFoundError(
        f"The collection '{collection.name}' has no label '{shorten_name(name)}': {others}"
    )


async def _count(session: AsyncSession, label_id: int) -> int:
    return int(await session.scalar(select(func.count()).where(Example.label_id == label_id)) or 0)
