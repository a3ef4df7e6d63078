"""The tables, and how a process reaches them: one async engine for the service, one sync for tools.

Knows nothing of what rows mean; each room reads and writes its own through `Database.session`.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.resources import files
from typing import Any, ClassVar

from pgvector.sqlalchemy import Vector
from sqlalchemy import (
    ARRAY,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    NullPool,
    Text,
    UniqueConstraint,
    create_engine,
    func,
    text,
)
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.errors import StoreUnavailableError

DEFAULT_WORKSPACE = "default"
DEFAULT_COLLECTION = "default"
MIGRATION_LOCK = 0x6C66_7669_7369_6F6E
"""Advisory lock (the letters lfvision) that one migration at a time holds."""
CONNECT_TIMEOUT_S = 10
# a database that went silent, its machine gone, is noticed within seconds instead of many minutes
NETWORK = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": CONNECT_TIMEOUT_S * 1000,
}
"""Connection parameters of engines that hold connections."""


class Base(DeclarativeBase):
    """Every table of the service."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: DateTime(timezone=True),
        int: BigInteger,
        bytes: LargeBinary,
    }


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
    """A named set of labels, bound to one encoder; `version` grows by one with each change of examples."""

    __tablename__ = "collections"
    __table_args__ = (UniqueConstraint("workspace", "name"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    workspace: Mapped[str] = mapped_column(ForeignKey("workspaces.name", ondelete="CASCADE"))
    name: Mapped[str]
    encoder: Mapped[str]
    version: Mapped[int] = mapped_column(default=0)
    removals_since: Mapped[int] = mapped_column(default=0)
    """Removals up to this version are no longer noted; a process that knew less must read everything again."""
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

    The vector column carries no length (encoders differ); an expression HNSW index per encoder is made when
    the encoder is first used, since pgvector indexes no untyped column.
    """

    __tablename__ = "example_vectors"

    example_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("examples.id", ondelete="CASCADE"), primary_key=True
    )
    encoder: Mapped[str] = mapped_column(primary_key=True)
    collection_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), index=True
    )
    vector: Mapped[list[float]] = mapped_column(Vector())


class Removal(Base):
    """What a removed example took along, so that other processes subtract it instead of reading all again.

    Rows older than the processes' watch interval by far are purged; a process that missed one starts over.
    """

    __tablename__ = "removals"
    __table_args__ = (Index("ix_removals_collection_version", "collection_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    collection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    version: Mapped[int]
    """The collection's version that the removal made."""
    added_version: Mapped[int]
    """The version that the example had made; who never read that far has nothing to subtract."""
    example_id: Mapped[uuid.UUID]
    label_id: Mapped[int]
    encoder: Mapped[str]
    vector: Mapped[list[float]] = mapped_column(Vector())
    removed_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AnswerExample(Base):
    """A question about an image and its answer, shown to models beside questions like it.

    Both vectors are by the encoder `encoder`, as in `example_vectors`.
    """

    __tablename__ = "answer_examples"
    __table_args__ = (
        # by the question's digest: an index row has room for 2,704 bytes, a question may be longer
        Index(
            "uq_answer_examples_question", "collection_id", "image_sha256", text("md5(question)"), unique=True
        ),
        Index("ix_answer_examples_image", "image_sha256"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    collection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    image_sha256: Mapped[str]
    question: Mapped[str]
    answer: Mapped[str]
    encoder: Mapped[str]
    image_vector: Mapped[list[float]] = mapped_column(Vector())
    question_vector: Mapped[list[float]] = mapped_column(Vector())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Database:
    """The async engine of one process."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        """`url` is postgresql://...; connections are opened on first use and checked before each loan."""
        self.engine = create_async_engine(
            driver_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            pool_timeout=CONNECT_TIMEOUT_S,
            connect_args=NETWORK,
        )
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A transaction: committed when the block ends, rolled back when it raises."""
        async with self._sessions() as session, session.begin():
            yield session

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()


def driver_url(url: str) -> URL:
    """A libpq URL (`postgresql://...`, `postgres://...`) for psycopg 3; raises StoreUnavailableError."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername.partition("+")[0] not in {"postgres", "postgresql"}:
        raise StoreUnavailableError(
            "The database URL must look like postgresql://user:password@host:5432/name."
        )
    return parsed.set(drivername="postgresql+psycopg")


def sync_engine(url: str) -> Engine:
    """An engine for tools and workers, which block; it keeps no connection."""
    return create_engine(
        driver_url(url), poolclass=NullPool, connect_args={"connect_timeout": CONNECT_TIMEOUT_S}
    )


def check(url: str) -> None:
    """Raise StoreUnavailableError, in one sentence without the password, unless the database answers."""
    engine = sync_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except OperationalError as error:
        raise StoreUnavailableError(f"{_place(engine.url)} cannot be reached: {_reason(error)}") from error


def migrate(url: str) -> list[str]:
    """Bring the database at `url` up to date; the revisions applied, oldest first.

    All in one transaction under an advisory lock: several processes may start at once, and one that dies
    leaves the database as it was. Raises StoreUnavailableError.
    """
    # alembic takes a while to import and only this needs it
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    applied: list[str] = []

    def note(*, step: Any, **_: Any) -> None:
        applied.append(step.up_revision_id)

    check(url)
    engine = sync_engine(url)
    config = Config()
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            config.attributes.update(connection=connection, on_version_apply=note)
            command.upgrade(config, "head")
    except CommandError as error:
        raise StoreUnavailableError(
            f"{_place(engine.url)} was brought up to date by a newer version of this service: {error}."
        ) from error
    except DBAPIError as error:
        raise StoreUnavailableError(
            f"{_place(engine.url)} cannot be brought up to date (it needs pgvector, and a user who may "
            f"create tables and the extension): {_reason(error)}"
        ) from error
    return applied


def _place(url: URL) -> str:
    """Which database a message is about, without the password."""
    host = url.host or url.query.get("host") or "the local socket"
    return f"PostgreSQL database '{url.database or url.username or ''}' at {host}" + (
        f":{url.port}" if url.port else ""
    )


def _reason(error: DBAPIError) -> str:
    """The driver's own words, on one line."""
    return " ".join(str(error.orig).split())
