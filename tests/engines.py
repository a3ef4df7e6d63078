"""Models behind a socket, for tests that hold for both ways of having them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from app.inference.engine.client import EngineClient
from app.inference.engine.server import EngineServer
from app.inference.registry import ModelRegistry
from app.settings import Settings

TOKEN = "a token of this test"


@contextmanager
def socket_folder() -> Iterator[Path]:
    """A private folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="vision-engine-") as folder:
        yield Path(folder)


@asynccontextmanager
async def served(
    registry: ModelRegistry, settings: Settings, pool: ThreadPoolExecutor
) -> AsyncIterator[tuple[EngineServer, EngineClient]]:
    """The registry behind a socket, and a front end that is connected to it."""
    with socket_folder() as folder:
        server = EngineServer(registry, folder / "engine.sock", TOKEN, settings)
        await server.serve()
        client = EngineClient([str(folder / "engine.sock")], TOKEN, settings, pool)
        await client.start()
        await until(lambda: bool(client.connected))
        try:
            yield server, client
        finally:
            await client.close()
            await server.close()


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for what is about to be true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        await asyncio.sleep(0.002)


def taken_bytes(client: EngineClient) -> int:
    """Shared memory that is given out, of all engines."""
    return sum(engine.channel.arena.taken_bytes for engine in client._engines if engine.is_connected)
