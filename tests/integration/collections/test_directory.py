"""The directory of collections starts and stops, whatever Redis is doing at that moment."""

from __future__ import annotations

import asyncio

import pytest

from app.collections.directory import Directory
from app.embedded import Addresses
from app.storage import resting_redis
from app.storage.database import Database


@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_it_stops_at_any_moment_of_connecting(addresses: Addresses, turns: int) -> None:
    database, redis = Database(addresses.database_url), resting_redis.connect(addresses.redis_url)
    directory = Directory(database, redis, interval_s=1)
    try:
        directory.start()
        for _ in range(turns):  # of the event loop
            await asyncio.sleep(0)
        await asyncio.wait_for(directory.close(), 30)
    finally:
        await redis.aclose()
        await database.close()
