"""The tables, and how a process reaches them: one async engine for the service, one sync for tools.

Each room reads and writes its own rows through `Database.session`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.resources import files
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    DateTime,
    LargeBinary,
    NullPool,
    Text,
    create_engine,
    text,
)
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from app.storage.errors import StoreUnavailableError

DEFAULT_WORKSPACE = "default"
DEFAULT_COLLECTION = "default"
MIGRATION_LOCK = 0x6C66_7669_7369_6F6E
"""Advisory lock (the letters lfvision) that one migration at a time holds."""
CONNECT_TIMEOUT_SECONDS = 10
# a database that went silent, its machine gone, is noticed within seconds instead of many minutes
NETWORK = {
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": CONNECT_TIMEOUT_SECONDS * 1000,
}
"""Connection parameters of engines that hold connections."""


_REVISION = re.compile(r'^(revision|down_revision)\b[^=\n]*= "([^"]+)"', re.MULTILINE)


class Base(DeclarativeBase):
    """Every table of the service."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: DateTime(timezone=True),
        int: BigInteger,
        bytes: LargeBinary,
    }


class Database:
    """The async engine of one process."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        """`url` is postgresql://...; connections are opened on first use and checked before each loan.

        There are `pool_size` of them, and for a while up to twice as many.
        """
        self.pool_size = pool_size
        self.engine = create_async_engine(
            driver_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            pool_timeout=CONNECT_TIMEOUT_SECONDS,
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
        driver_url(url), poolclass=NullPool, connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS}
    )


def _is_current(url: str) -> bool:
    """Whether the newest revision of the files was applied, and nothing else: then there is nothing to do.

    Raises StoreUnavailableError, in one sentence without the password, unless the database answers.
    """
    engine = sync_engine(url)
    try:
        with engine.connect() as connection:
            applied = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    except OperationalError as error:
        raise StoreUnavailableError(f"{_place(engine.url)} cannot be reached: {_reason(error)}") from error
    except DBAPIError:  # no such table, or not ours to read: the migration finds out
        return False
    return list(applied) == newest_revisions()


def newest_revisions() -> list[str]:
    """The revisions that no other follows, read from the files' text without importing alembic."""
    made: set[str] = set()
    followed: set[str] = set()
    for file in files("migrations").joinpath("versions").iterdir():
        if file.name.endswith(".py"):
            found = dict(_REVISION.findall(file.read_text(encoding="utf-8")))
            made |= {found["revision"]} if "revision" in found else set()
            followed |= {found["down_revision"]} if "down_revision" in found else set()
    return sorted(made - followed)


def migrate(url: str) -> list[str]:
    """Bring the database at `url` up to date; the revisions applied, oldest first.

    All in one transaction under an advisory lock: several processes may start at once, and one that dies
    leaves the database as it was. Raises StoreUnavailableError.
    """
    if _is_current(url):
        return []
    # alembic takes a while to import, and most starts find nothing to do
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    applied: list[str] = []

    def note(*, step: Any, **_: Any) -> None:
        applied.append(step.up_revision_id)

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
