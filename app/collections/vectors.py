"""Vectors between PostgreSQL and numpy: read in binary and in chunks, found through an index per encoder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

CHUNK = 2_000
_KEY = re.compile(r"[a-z0-9._-]+@[0-9a-f]{16}")
_HEADER_BYTES = 4  # number of dimensions and a reserved field, 16 bits each
_MAX_INDEXED_DIM = 4_000  # dimensions that pgvector's index on half precision takes
_INDEX_LOCK = 0x766563


def literal(key: str) -> str:
    """An encoder's key as an SQL literal: a partial index is only used when its predicate is spelt out."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"not an encoder's key: {key!r}")
    return f"'{key}'"


def to_sql(vector: NDArray[np.float32]) -> str:
    """float32[d] as pgvector reads it; every float32 comes back as it was."""
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


def from_wire(values: Sequence[bytes], dim: int) -> NDArray[np.float32]:
    """pgvector's binary values to float32[n, dim]; raises ValueError for another length than `dim`."""
    rows = np.frombuffer(b"".join(values), dtype=np.uint8).reshape(len(values), _HEADER_BYTES + 4 * dim)
    body: NDArray[np.uint8] = np.ascontiguousarray(rows[:, _HEADER_BYTES:])
    return body.view(">f4").astype(np.float32)


async def stream(
    session: AsyncSession, statement: str, parameters: dict[str, Any]
) -> AsyncIterator[list[tuple[Any, ...]]]:
    """Rows in chunks through a server-side cursor; values in binary, a vector as bytes for `from_wire`."""
    connection = await (await session.connection()).get_raw_connection()
    driver: AsyncConnection[Any] = connection.driver_connection  # type: ignore[assignment]
    async with driver.cursor("vectors", binary=True) as cursor:
        await cursor.execute(statement.encode(), parameters)
        while rows := await cursor.fetchmany(CHUNK):
            yield rows


def index_name(key: str) -> str:
    """Stable, and short enough for PostgreSQL."""
    return f"ix_vectors_{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def expression(dim: int, table: str = "v") -> str:
    """What the index of an encoder of `dim` dimensions holds; half precision halves its size."""
    return f"({table}.vector::halfvec({dim}))"


async def ensure_index(session: AsyncSession, key: str, dim: int) -> None:
    """Make the HNSW index of an encoder where it is missing: cheap while the encoder has no vectors yet.

    Encoders of more dimensions than an index takes go without one.
    """
    name = index_name(key)
    if dim > _MAX_INDEXED_DIM or await _exists(session, name):
        return
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _INDEX_LOCK})
    await session.execute(
        text(
            f"CREATE INDEX IF NOT EXISTS {name} ON example_vectors "
            f"USING hnsw ({expression(dim, 'example_vectors')} halfvec_cosine_ops) "
            f"WHERE encoder = {literal(key)}"
        )
    )


async def _exists(session: AsyncSession, name: str) -> bool:
    return await session.scalar(text("SELECT to_regclass(:name)"), {"name": name}) is not None
