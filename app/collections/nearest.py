"""The stored examples nearest to a vector: through the encoder's index, or one by one where there are few."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.collections import vectors

EXACT_UP_TO = 2_000
"""Collections of at most this many examples are compared one by one: that is exact and takes a few
milliseconds, while an index shared with much larger collections could visit thousands of theirs first."""
_MIN_EF_SEARCH, _MAX_EF_SEARCH = 40, 1_000

Near = tuple[uuid.UUID, str, float]
"""Example id, label, cosine."""


async def nearest(
    session: AsyncSession, collection_id: uuid.UUID, key: str, vector: NDArray[np.float32], limit: int
) -> list[Near]:
    """The `limit` nearest examples of a collection, best first; fewer only where there are fewer.

    The index finds the examples in half precision and may miss some; the cosines are exact.
    """
    written = vectors.to_sql(vector)
    wanted: dict[str, Any] = {"collection": collection_id, "limit": limit, "exact": written, "near": written}
    count_up_to = {"collection": collection_id, "most": EXACT_UP_TO + 1}
    count = await session.scalar(
        text("SELECT count(*) FROM (SELECT FROM examples WHERE collection_id = :collection LIMIT :most) few"),
        count_up_to,
    )
    if count is None or count <= EXACT_UP_TO:
        return _rows((await session.execute(text(build_exact_query(key)), wanted)).all())
    await session.execute(text("SET LOCAL hnsw.iterative_scan = strict_order"))
    wide = max(_MIN_EF_SEARCH, min(_MAX_EF_SEARCH, limit))
    await session.execute(text(f"SET LOCAL hnsw.ef_search = {wide}"))
    rows = (await session.execute(text(build_indexed_query(key, len(vector))), wanted)).all()
    if len(rows) < min(limit, count):  # the scan gave up among other collections' examples
        rows = (await session.execute(text(build_exact_query(key)), wanted)).all()
    return _rows(rows)


def build_indexed_query(key: str, dim: int) -> str:
    """The index's expression and predicate must stand in the statement as they stand in the index."""
    return _sql(key, f"{vectors.expression(dim)} <=> CAST(:near AS halfvec({dim}))")


def build_exact_query(key: str) -> str:
    """No index holds this expression, so every vector of the collection is compared."""
    return _sql(key, "v.vector <=> CAST(:near AS vector)")


def _sql(key: str, distance: str) -> str:
    # The same vector goes in twice: of one parameter with two types, PostgreSQL makes the less precise one.
    return (
        "SELECT near.example_id, l.name, 1 - (near.vector <=> CAST(:exact AS vector)) AS cosine FROM ("  # noqa: S608 - an encoder's key, checked, and numbers
        f"SELECT v.example_id, v.vector FROM example_vectors v WHERE v.encoder = {vectors.literal(key)} "
        f"AND v.collection_id = :collection ORDER BY {distance} LIMIT :limit) near "
        "JOIN examples e ON e.id = near.example_id JOIN labels l ON l.id = e.label_id "
        "ORDER BY cosine DESC, near.example_id"
    )


def _rows(found: Sequence[Any]) -> list[Near]:
    return [(example_id, label, float(cosine)) for example_id, label, cosine in found]
