"""Answer examples as rows: kept, listed, removed, and found by likeness.

A look-up is held to a workspace by `app.collections`, which finds the collection.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from app.answers.tables import AnswerExample

_WITHOUT_VECTORS = select(AnswerExample).options(
    defer(AnswerExample.image_vector), defer(AnswerExample.question_vector)
)
"""Vectors are long, and are compared where they are."""


@dataclass(frozen=True)
class NewAnswer:
    """An answer example before it has an id; vectors as SQL text."""

    image_sha256: str
    question: str
    answer: str
    encoder: str
    image_vector: str
    question_vector: str
    bytes: int
    """Of the stored image."""


@dataclass(frozen=True)
class NearAnswer:
    """An answer example and the cosine of its image to the image asked about."""

    id: uuid.UUID
    image_sha256: str
    question: str
    answer: str
    similarity: float


async def put(session: AsyncSession, collection_id: uuid.UUID, new: NewAnswer) -> tuple[AnswerExample, bool]:
    """Keep an example; the same question about the same image gets the new answer. False where it was there."""
    query = _WITHOUT_VECTORS.where(
        AnswerExample.collection_id == collection_id,
        AnswerExample.image_sha256 == new.image_sha256,
        AnswerExample.question == new.question,
    )
    values: dict[str, Any] = {
        "id": uuid.uuid4(),
        "collection_id": collection_id,
        "image_sha256": new.image_sha256,
        "question": new.question,
        "answer": new.answer,
        "encoder": new.encoder,
        "bytes": new.bytes,
        "image_vector": text("CAST(:image AS vector)").bindparams(image=new.image_vector),
        "question_vector": text("CAST(:question_vector AS vector)").bindparams(
            question_vector=new.question_vector
        ),
    }
    statement = insert(AnswerExample).values(**values)
    fresh = statement.excluded
    made = await session.scalar(
        statement.on_conflict_do_update(
            index_elements=[
                AnswerExample.collection_id,
                AnswerExample.image_sha256,
                text("md5(question)"),
            ],
            set_={
                "answer": fresh.answer,
                "encoder": fresh.encoder,
                "image_vector": fresh.image_vector,
                "question_vector": fresh.question_vector,
            },
        ).returning(AnswerExample.id)
    )
    row = await session.scalar(query)
    if row is None:
        raise RuntimeError("an answer example vanished inside its transaction")
    return row, made == values["id"]


async def count_stored_bytes(session: AsyncSession, workspace: str) -> int:
    """Bytes of the images that the workspace's answer examples show, each as often as it is shown."""
    total = await session.scalar(
        text(
            "SELECT COALESCE(sum(a.bytes), 0) FROM answer_examples a "
            "JOIN collections c ON c.id = a.collection_id WHERE c.workspace = :workspace"
        ),
        {"workspace": workspace},
    )
    return int(total or 0)


async def page(
    session: AsyncSession, collection_id: uuid.UUID, *, limit: int, after: uuid.UUID | None = None
) -> list[AnswerExample]:
    """By id, beginning after `after`."""
    query = _WITHOUT_VECTORS.where(AnswerExample.collection_id == collection_id)
    if after is not None:
        query = query.where(AnswerExample.id > after)
    return list(await session.scalars(query.order_by(AnswerExample.id).limit(limit)))


async def find(
    session: AsyncSession, collection_id: uuid.UUID, example_id: uuid.UUID
) -> AnswerExample | None:
    """One example of a collection."""
    return await session.scalar(
        _WITHOUT_VECTORS.where(AnswerExample.collection_id == collection_id, AnswerExample.id == example_id)
    )


async def remove(session: AsyncSession, collection_id: uuid.UUID, example_id: uuid.UUID) -> str | None:
    """Remove one example; its image's hash, or None where there is none."""
    return await session.scalar(
        delete(AnswerExample)
        .where(AnswerExample.collection_id == collection_id, AnswerExample.id == example_id)
        .returning(AnswerExample.image_sha256)
    )


async def count_by_collection(session: AsyncSession, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """How many examples each of these collections has; those without any are left out."""
    rows = await session.execute(
        select(AnswerExample.collection_id, func.count())
        .where(AnswerExample.collection_id.in_(ids))
        .group_by(AnswerExample.collection_id)
    )
    return dict(rows.all())


async def images_of(session: AsyncSession, collection_id: uuid.UUID) -> set[str]:
    """Hashes of the images that a collection's examples show."""
    query = select(AnswerExample.image_sha256).where(AnswerExample.collection_id == collection_id)
    return set(await session.scalars(query))


async def find_shown_images(session: AsyncSession, hashes: Sequence[str]) -> set[str]:
    """Those of the images that an example of any collection shows."""
    query = select(AnswerExample.image_sha256).where(AnswerExample.image_sha256.in_(hashes))
    return set(await session.scalars(query))


async def count(session: AsyncSession, collection_id: uuid.UUID) -> int:
    """How many examples a collection has."""
    query = select(func.count()).where(AnswerExample.collection_id == collection_id)
    return await session.scalar(query) or 0


async def of_other_encoders(
    session: AsyncSession,
    collection_id: uuid.UUID,
    key: str,
    *,
    limit: int,
    after: uuid.UUID,
) -> list[AnswerExample]:
    """Examples that another encoder embedded, by id, beginning after `after`."""
    query = _WITHOUT_VECTORS.where(
        AnswerExample.collection_id == collection_id,
        AnswerExample.encoder != key,
        AnswerExample.id > after,
    )
    return list(await session.scalars(query.order_by(AnswerExample.id).limit(limit)))


async def put_vectors(
    session: AsyncSession, example_id: uuid.UUID, key: str, image_vector: str, question_vector: str
) -> None:
    """Replace an example's vectors by those of an encoder; nothing where the example is gone."""
    await session.execute(
        text(
            "UPDATE answer_examples SET encoder = :key, image_vector = CAST(:image AS vector), "
            "question_vector = CAST(:question AS vector) WHERE id = :example"
        ),
        {"example": example_id, "key": key, "image": image_vector, "question": question_vector},
    )


async def nearest(
    session: AsyncSession,
    collection_id: uuid.UUID,
    encoder_key: str,
    image_vector: str,
    question_vector: str,
    limit: int,
) -> list[NearAnswer]:
    """The examples whose images are most like the one asked about; among equally like ones the nearest question.

    Images are compared to two digits of the cosine: closer than that is a tie, which the question decides.
    """
    rows = await session.execute(
        text(
            # the cosines of questions are only taken where they can matter: among the ties of the last place
            "WITH likely AS MATERIALIZED ("
            "SELECT id, 1 - (image_vector <=> CAST(:image AS vector)) AS likeness FROM answer_examples "
            "WHERE collection_id = :collection AND encoder = :encoder"
            "), ranked AS MATERIALIZED ("
            "SELECT id, likeness, round(CAST(likeness AS numeric), 2) AS place FROM likely"
            "), last AS (SELECT place FROM ranked ORDER BY place DESC OFFSET :limit - 1 LIMIT 1) "
            "SELECT id, image_sha256, question, answer, likeness FROM ranked JOIN answer_examples USING (id) "
            "WHERE place >= coalesce((SELECT place FROM last), -2) "
            "ORDER BY place DESC, question_vector <=> CAST(:question AS vector), id LIMIT :limit"
        ),
        {
            "image": image_vector,
            "question": question_vector,
            "collection": collection_id,
            "encoder": encoder_key,
            "limit": limit,
        },
    )
    return [
        NearAnswer(example_id, sha, asked, answer, float(like))
        for example_id, sha, asked, answer, like in rows
    ]
