"""The Redis client while Redis is there, away, silent and back."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.exceptions import RedisError

from app.storage import resting_redis


async def test_it_is_a_client_like_any(redis_url: str) -> None:
    client = resting_redis.connect(redis_url)
    await client.set("a", b"1")
    assert await client.get("a") == b"1"
    await client.aclose()


async def test_a_silent_redis_costs_the_first_caller_a_timeout_and_the_next_ones_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resting_redis, "REST_SECONDS", 600)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = resting_redis.connect(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        with pytest.raises(RedisError):
            await client.get("a")
        assert count_connections(silent) > 0
        for _ in range(100):
            with pytest.raises(RedisError):
                await client.get("a")
        assert count_connections(silent) == 0
        await client.aclose()


def count_connections(listening: socket.socket) -> int:
    """How many were made since the last look."""
    listening.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            listening.accept()[0].close()
            count += 1
    return count


async def test_cut_connections_are_made_anew_at_once(redis_url: str) -> None:
    client, other = resting_redis.connect(redis_url), resting_redis.connect(redis_url)
    await client.set("a", b"1")
    await other.client_kill_filter(_type="normal", skipme=True)
    assert await client.get("a") == b"1"
    await client.aclose()
    await other.aclose()


async def test_it_comes_back_after_its_rest(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resting_redis, "REST_SECONDS", 0.2)
    real = urlsplit(redis_url).path
    client = resting_redis.connect(redis_url.replace(real, f"{tmp_path}/valkey.sock"))
    with pytest.raises(RedisError):
        await client.ping()
    (tmp_path / "valkey.sock").symlink_to(real)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            await client.ping()
            break
        except RedisError:
            await asyncio.sleep(0.02)
    assert await client.ping()
    await client.aclose()
