"""PostgreSQL and Redis of a service: started or joined, brought up to date, and asked who may come in."""

from __future__ import annotations

import asyncio
from pathlib import Path

import redis

from app.access.admitting import admit
from app.access.keys import load_secret
from app.access.service import KeyRing
from app.embedded import Addresses, EmbeddedServers
from app.runtime.saying import out, plain, say
from app.runtime.stopping import Stop
from app.settings import Settings
from app.storage.database import Database, migrate
from app.storage.errors import StoreUnavailableError


def open_databases(settings: Settings, servers: EmbeddedServers, stop: Stop) -> Addresses:
    """Their addresses, once nothing more has to be done before something listens.

    Raises StoppedError, EmbeddedError, BindRefusedError, SecretError and StoreUnavailableError.
    """
    data_dir = settings.server.data_dir
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (settings.server.database_url and settings.server.redis_url):
        say(out, f"Starting the databases in {plain(data_dir)}")
    addresses = servers.start()
    stop.check()
    migrate(addresses.database_url)
    _check_redis(addresses.redis_url)
    stop.check()
    key_file = asyncio.run(_admit(settings, addresses.database_url))
    if key_file is not None:
        say(out, f"The first admin key is in {plain(key_file)}")
    stop.check()
    return addresses


async def _admit(settings: Settings, database_url: str) -> Path | None:
    """Who may come in, settled before anything listens; the file of a key that was made for it."""
    database = Database(database_url, pool_size=1)
    try:
        return await admit(settings, KeyRing(database, load_secret(settings)))
    finally:
        await database.close()


def _check_redis(url: str) -> None:
    """Raise StoreUnavailableError, in one sentence without the password, unless Redis answers."""
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=10, socket_timeout=10) as client:
            client.ping()
    except (redis.RedisError, ValueError, OSError) as error:
        place = url.rpartition("@")[2].partition("?")[0]
        raise StoreUnavailableError(f"Redis at {place} cannot be reached: {error}") from error
