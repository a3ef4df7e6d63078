"""Pages of collections, labels and examples, as clients see them; each held to a workspace."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.collections.neighbours import RoomHooks
from app.collections.repository import in_workspace
from app.collections.tables import Collection, Example, Label


@dataclass(frozen=True)
class CollectionRow:
    """A collection and how much is in it."""

    collection: Collection
    labels: int
    examples: int
    answers: int


async def list_collections(
    session: AsyncSession,
    workspace: str,
    neighbours: RoomHooks,
    *,
    limit: int,
    after: str = "",
    name: str | None = None,
) -> list[CollectionRow]:
    """By name, beginning after `after`; only the one called `name` where that is given."""
    labels = (
        select(func.count())
        .where(Label.collection_id == Collection.id)
        .correlate(Collection)
        .scalar_subquery()
    )
    examples = (
        select(func.count())
        .where(Example.collection_id == Collection.id)
        .correlate(Collection)
        .scalar_subquery()
    )
    query = select(Collection, labels, examples)
    query = query.where(in_workspace(workspace), Collection.name > after)
    if name is not None:
        query = query.where(Collection.name == name)
    rows = (await session.execute(query.order_by(Collection.name).limit(limit))).all()
    answers = await neighbours.count_answers(session, [row[0].id for row in rows])
    return [
        CollectionRow(collection, labelled, taught, answers.get(collection.id, 0))
        for collection, labelled, taught in rows
    ]


@dataclass(frozen=True)
class ExampleRow:
    """An example with its label's name."""

    id: uuid.UUID
    label: str
    image_sha256: str
    created_at: datetime


def _examples(workspace: str, name: str) -> Select[uuid.UUID, str, str, datetime]:
    return (
        select(Example.id, Label.name, Example.image_sha256, Example.created_at)
        .join(Label, Label.id == Example.label_id)
        .join(Collection, Collection.id == Example.collection_id)
        .where(in_workspace(workspace), Collection.name == name)
    )


async def list_examples(
    session: AsyncSession,
    workspace: str,
    name: str,
    *,
    limit: int,
    label: str | None = None,
    image_sha256: str | None = None,
    after: tuple[str, uuid.UUID] | None = None,
) -> list[ExampleRow]:
    """By label and then by id, beginning after the pair `after`."""
    query = _examples(workspace, name)
    if label is not None:
        query = query.where(Label.name == label)
    if image_sha256 is not None:
        query = query.where(Example.image_sha256 == image_sha256)
    if after is not None:
        query = query.where(or_(Label.name > after[0], and_(Label.name == after[0], Example.id > after[1])))
    rows = await session.execute(query.order_by(Label.name, Example.id).limit(limit))
    return [ExampleRow(*row) for row in rows]


async def find_example(
    session: AsyncSession, workspace: str, name: str, example_id: uuid.UUID
) -> ExampleRow | None:
    """One example of a collection."""
    row = (await session.execute(_examples(workspace, name).where(Example.id == example_id))).one_or_none()
    return ExampleRow(*row) if row else None


async def list_labels(
    session: AsyncSession, collection_id: uuid.UUID, *, limit: int, after: str = ""
) -> list[tuple[str, str, int]]:
    """Name, description and number of examples of each label, by name."""
    rows = await session.execute(
        select(Label.name, Label.description, func.count(Example.id))
        .outerjoin(Example, Example.label_id == Label.id)
        .where(Label.collection_id == collection_id, Label.name > after)
        .group_by(Label.id)
        .order_by(Label.name)
        .limit(limit)
    )
    return [(name, description, count) for name, description, count in rows]


async def count_labels(session: AsyncSession, collection_id: uuid.UUID) -> dict[str, int]:
    """How many examples each label has, by name; labels without one left out."""
    rows = await session.execute(
        select(Label.name, func.count())
        .join(Example, Example.label_id == Label.id)
        .where(Label.collection_id == collection_id)
        .group_by(Label.name)
        .order_by(Label.name)
    )
    return dict(rows.all())
