"""The tables, and how a process reaches them: one async engine for the service, one sync for tools.

Knows nothing of what rows mean; each room reads and writes its own through `Database.session`.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from pgvector.sqlalchemy import Vector
from sqlalchemy import ARRAY, BigInteger, DateTime, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, func
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

DEFAULT_WORKSPACE = "default"
DEFAULT_COLLECTION = "default"


class Base(DeclarativeBase):
    """Every table of the service."""

    type_annotation_map = {str: Text, datetime: DateTime(timezone=True), int: BigInteger, bytes: LargeBinary}


class Workspace(Base):
    """A tenant: every collection and key belongs to exactly one."""

    __tablename__ = "workspaces"

    name: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiKey(Base):
    """A key's digest (HMAC-SHA256 of the whole key), never the key."""

    __tablename__ = "api_keys"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    workspace: Mapped[str] = mapped_column(ForeignKey("workspaces.name", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    hint: Mapped[str]
    """First characters of the key, for people to tell keys apart."""
    digest: Mapped[bytes] = mapped_column(unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Collection(Base):
    """A named set of labels, bound to one encoder; `version` grows by one with every change of its examples."""

    __tablename__ = "collections"
    __table_args__ = (UniqueConstraint("workspace", "name"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    workspace: Mapped[str] = mapped_column(ForeignKey("workspaces.name", ondelete="CASCADE"))
    name: Mapped[str]
    encoder: Mapped[str]
    version: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Label(Base):
    """One label of a collection and what a person wrote about it."""

    __tablename__ = "labels"
    __table_args__ = (UniqueConstraint("collection_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    collection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")


class Example(Base):
    """One image of one label; the same image and label again is the same row."""

    __tablename__ = "examples"
    __table_args__ = (
        UniqueConstraint("collection_id", "label_id", "image_sha256"),
        Index("ix_examples_collection_version", "collection_id", "version"),
        Index("ix_examples_image", "image_sha256"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    collection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    label_id: Mapped[int] = mapped_column(ForeignKey("labels.id", ondelete="CASCADE"), index=True)
    image_sha256: Mapped[str]
    """Hex SHA-256 of the stored (metadata-free) image; its key in the blob store."""
    version: Mapped[int]
    """The collection's version that this example made."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ExampleVector(Base):
    """An example's embedding by one encoder; `encoder` is `<name>@<fingerprint>`, so weights never mix.

    The vector column carries no length (encoders differ); an expression HNSW index per encoder is made when the
    encoder is first used, since pgvector indexes no untyped column.
    """

    __tablename__ = "example_vectors"

    example_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("examples.id", ondelete="CASCADE"), primary_key=True)
    encoder: Mapped[str] = mapped_column(primary_key=True)
    collection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"), index=True)
    vector: Mapped[list[float]] = mapped_column(Vector())


class Removal(Base):
    """What a removed example took along, so that other processes subtract it instead of reading everything again.

    Rows older than the processes' watch interval by far are purged; a process that missed one starts over.
    """

    __tablename__ = "removals"
    __table_args__ = (Index("ix_removals_collection_version", "collection_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    collection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    version: Mapped[int]
    example_id: Mapped[uuid.UUID]
    removed_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Database:
    """The async engine of one process."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        """`url` is postgresql://...; connections are opened on first use and checked before each loan."""
        url = url.replace("postgres://", "postgresql://", 1).replace("postgresql://", "postgresql+psycopg://", 1)
        self.engine = create_async_engine(url, pool_size=pool_size, max_overflow=pool_size, pool_pre_ping=True)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A transaction: committed when the block ends, rolled back when it raises."""
        async with self._sessions() as session, session.begin():
            yield session

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()
