"""Models behind a socket, for tests that hold for both ways of having them."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from app.families import Families
from app.inference.engine.client import EngineClient
from app.inference.engine.interface import ServedEncoder
from app.inference.engine.server import EngineServer
from app.inference.observing import BatcherStats
from app.inference.protocols import Rgb
from app.inference.registry import ModelRegistry
from app.inference.sources import EncoderConfig, EncoderSource, Kind
from app.settings import Settings

TOKEN = "a token of this test"


@contextmanager
def socket_folder() -> Iterator[Path]:
    """A private folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="vision-engine-") as folder:
        yield Path(folder)


@asynccontextmanager
async def serve_registry(
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


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for what is about to be true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        await asyncio.sleep(0.002)


def count_taken_bytes(client: EngineClient) -> int:
    """Shared memory that is given out, of all engines."""
    return sum(engine.channel.arena.taken_bytes for engine in client._engines if engine.is_connected)


class Line(Protocol):
    """Where numbers are squared, as `Batcher` has it."""

    async def submit(self, group: str, item: int, *, deadline: float | None = None) -> int: ...

    async def submit_many(
        self, group: str, items: Sequence[int], *, deadline: float | None = None
    ) -> list[int]: ...

    def stats(self) -> BatcherStats: ...


class Squares:
    """An encoder whose images and texts are numbers, and whose vectors are what `run` makes of them."""

    name, family, fingerprint, runtime = "squares", "lite", "0" * 16, "numpy"
    dim, input_size, memory_bytes, temperature = 1, 1, 1, 1.0

    def __init__(self, run: Callable[[str, list[int]], Sequence[int]]) -> None:
        self.run = run
        self.is_warm = False
        """Before, it is only tried out."""

    def preprocess(self, image: Any) -> Any:
        return np.asarray(image).transpose(2, 0, 1)

    def encode_images(self, pixels: Any) -> Any:
        return self._vectors(
            "image", [int(256 * row[0, 0, 0] + row[1, 0, 0]) for row in np.asarray(pixels, int)]
        )

    def encode_texts(self, texts: Sequence[str]) -> Any:
        return self._vectors("text", [int(text) if text.isdigit() else 0 for text in texts])

    def _vectors(self, group: str, numbers: list[int]) -> Any:
        found = self.run(group, numbers) if self.is_warm else numbers
        return np.array(found, np.float32).reshape(-1, 1)


class SquaresFamily(Families):
    """Whose only encoder it is."""

    def __init__(self, encoder: Squares) -> None:
        super().__init__()
        self._encoder = encoder

    def load(self, kind: Kind, source: EncoderSource, config: EncoderConfig) -> Any:
        return self._encoder


def square(group: str, numbers: list[int]) -> list[int]:
    return [number * number for number in numbers]


def number(n: int) -> Rgb:
    """The image that means a number to `Squares`."""
    return np.array([[[n >> 8, n & 255, 0]]], np.uint8)


@asynccontextmanager
async def squares(
    settings: Settings, pool: ThreadPoolExecutor, run: Callable[[str, list[int]], list[int]] = square
) -> AsyncIterator[tuple[EngineServer, EngineClient]]:
    encoder = Squares(run)
    with ThreadPoolExecutor(2) as engines_own:
        registry = ModelRegistry(settings, SquaresFamily(encoder), pool=engines_own)
        async with serve_registry(registry, settings, pool) as (server, client):
            async with client.encoder():
                encoder.is_warm = True
            yield server, client
        await registry.close()


class Gate:
    """Squares numbers when it is open."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.is_entered = threading.Event()

    def run(self, group: str, numbers: list[int]) -> list[int]:
        self.is_entered.set()
        assert self.open.wait(30)
        return square(group, numbers)


class SocketLine:
    """Numbers through a front end's client, a socket, an engine's server and a model's batcher."""

    def __init__(self, live: ServedEncoder, registry: ModelRegistry) -> None:
        self._live = live
        self._registry = registry

    async def submit(self, group: str, item: int, *, deadline: float | None = None) -> int:
        return (await self.submit_many(group, [item], deadline=deadline))[0]

    async def submit_many(
        self, group: str, items: Sequence[int], *, deadline: float | None = None
    ) -> list[int]:
        remaining_s = 60.0 if deadline is None else deadline - time.monotonic()
        if group == "image":
            images = [np.array([[[n >> 8, n & 255, 0]]], np.uint8) for n in items]
            rows = await self._live.embed_images(images, deadline_s=remaining_s)
        else:
            rows = await self._live.embed_texts([str(n) for n in items], deadline_s=remaining_s)
        return [int(row[0]) for row in rows]

    def stats(self) -> BatcherStats:
        [info] = self._registry.live()
        assert info.batches is not None
        return info.batches


@asynccontextmanager
async def over_a_socket(
    run: Callable[[str, list[int]], Sequence[int]], settings: Settings
) -> AsyncIterator[SocketLine]:
    """`run` behind all of that; there may be no more than 65,535 in a number."""
    encoder = Squares(run)
    with ThreadPoolExecutor(2) as pool:
        registry = ModelRegistry(settings, SquaresFamily(encoder), pool=pool)
        async with serve_registry(registry, settings, pool) as (server, client):
            async with client.encoder() as live:
                encoder.is_warm = True
                yield SocketLine(live, registry)
            await until(lambda: all(session.held == (0, 0) for session in server.sessions))
            assert count_taken_bytes(client) == 0
        await registry.close()
