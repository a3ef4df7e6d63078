"""The real PostgreSQL and Valkey that tests run on, and a fresh database for whoever asks.

Knows nothing of the service: one pair of embedded servers serves the whole run, and every test's database is
a copy of one that was migrated once, so that tests share nothing and wait for nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg import sql

from app.database import migrate
from app.embedded import Addresses, EmbeddedServers, purge

TEMPLATE = "migrated"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """The run's PostgreSQL and Valkey; take `addresses` unless you make databases yourself."""
    data_dir = tmp_path_factory.mktemp("servers")
    embedded = EmbeddedServers(data_dir, durable=False)
    try:
        yield embedded.start()
    finally:
        embedded.stop()
        purge(data_dir)


@pytest.fixture(scope="session")
def migrated(servers: Addresses) -> str:
    """URL of a database at the newest revision that nobody connects to: the others are copied from it."""
    _maintain(servers, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    url = database_named(servers, TEMPLATE)
    migrate(url)
    return url


@pytest.fixture
def addresses(servers: Addresses, migrated: str) -> Iterator[Addresses]:
    """A migrated, empty database and an empty Redis database of this test's own."""
    with fresh_stores(servers) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def module_addresses(servers: Addresses, migrated: str) -> Iterator[Addresses]:
    """The same, shared by the tests of one module."""
    with fresh_stores(servers) as fresh:
        yield fresh


@pytest.fixture
def database_url(addresses: Addresses) -> str:
    """URL of this test's migrated, empty database."""
    return addresses.database_url


@pytest.fixture
def redis_url(addresses: Addresses) -> str:
    """URL of this test's empty Redis database."""
    return addresses.redis_url


@contextmanager
def fresh_stores(servers: Addresses) -> Iterator[Addresses]:
    """A copy of the migrated database and an emptied Redis database, gone or forgotten after the block."""
    number = next(_numbers)
    name = sql.Identifier(f"test_{number}")
    redis_url = servers.redis_url.replace("?db=0", f"?db={number % 15 + 1}")
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    _maintain(servers, sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(TEMPLATE)))
    try:
        yield Addresses(database_named(servers, f"test_{number}"), redis_url)
    finally:
        _maintain(servers, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def database_named(servers: Addresses, name: str) -> str:
    """URL of another database on the same server."""
    return urlsplit(servers.database_url)._replace(path=f"/{name}").geturl()


def _maintain(servers: Addresses, statement: sql.Composed) -> None:
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(statement)
