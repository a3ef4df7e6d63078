"""Several engines, and processes that end: who serves what, and what a request sees of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from app.inference.engine.client import EngineClient
from app.inference.engine.placement import Placement
from app.inference.engine.server import EngineServer
from app.inference.errors import (
    EngineUnavailableError,
)
from app.inference.registry import ModelRegistry
from app.settings import Settings
from tests.engines import (
    TOKEN,
    Squares,
    SquaresFamily,
    count_taken_bytes,
    number,
    socket_folder,
    square,
    squares,
    until,
)

ROOT = Path(__file__).resolve().parents[3]


# --- several engines


@asynccontextmanager
async def two_engines(
    settings: Settings, pool: ThreadPoolExecutor, placement: Placement
) -> AsyncIterator[tuple[EngineClient, list[tuple[EngineServer, ModelRegistry]]]]:
    engines = []
    with socket_folder() as folder:
        for index in range(2):
            encoder = Squares(square)
            registry = ModelRegistry(settings, SquaresFamily(encoder), pool=pool)
            encoder.run = lambda group, numbers: (time.sleep(0.002), square(group, numbers))[1]
            server = EngineServer(registry, folder / f"{index}.sock", TOKEN, settings)
            await server.serve()
            engines.append((server, registry))
        client = EngineClient(
            [str(folder / f"{index}.sock") for index in range(2)], TOKEN, settings, pool, placement=placement
        )
        await client.start()
        await until(lambda: len(client.connected) == 2)
        try:
            yield client, engines
        finally:
            await client.close()
            for server, registry in engines:
                await server.close()
                await registry.close()


def counted(registry: ModelRegistry) -> int:
    return sum(info.batches.items for info in registry.live() if info.batches)


async def test_replicas_share_the_work_and_one_goes_on_without_the_other(
    settings: Settings, pool: ThreadPoolExecutor
) -> None:
    async with two_engines(settings, pool, "replicate") as (client, engines), client.encoder() as live:
        for _ in range(10):  # also those that come one by one
            await live.embed_images([number(1)], deadline_s=30)
        assert [counted(registry) for _, registry in engines] == [5, 5]
        await live.embed_images([number(1)] * 100, deadline_s=30)
        assert all(30 <= counted(registry) <= 80 for _, registry in engines)
        [info] = await client.stats()
        assert info.batches is not None
        assert info.batches.items == 110
        assert info.memory_bytes == 2
        await engines[0][0].close()
        await until(lambda: len(client.connected) == 1)
        before = counted(engines[1][1])
        await live.embed_images([number(1)] * 10, deadline_s=30)
        assert counted(engines[1][1]) == before + 10
        await client.forget("")


async def test_spread_keeps_each_model_on_one_engine(settings: Settings, pool: ThreadPoolExecutor) -> None:
    names = [f"org/model-{index}" for index in range(4)]
    async with two_engines(settings.replace(model_memory_mb=100), pool, "spread") as (client, engines):
        for name in names * 2:
            async with client.encoder(name) as live:
                await live.embed_images([number(1)] * 3, deadline_s=30)
        homes = [{info.name for info in registry.live()} for _, registry in engines]
        assert not homes[0] & homes[1]
        assert len(homes[0] | homes[1]) == len(names)
        assert min(len(home) for home in homes) >= 1
        assert {info.name for info in client.live()} == homes[0] | homes[1]
        await engines[0][0].close()
        await until(lambda: len(client.connected) == 1)
        stranded = next(iter(homes[0]))
        with pytest.raises(EngineUnavailableError):  # another engine would load it for a moment only
            async with client.encoder(f"org/{stranded}"):
                pass
        async with client.encoder(f"org/{next(iter(homes[1]))}") as live:
            await live.embed_images([number(1)], deadline_s=30)


# --- processes that end


ENGINE = """
import asyncio, sys, time
from concurrent.futures import ThreadPoolExecutor
from app.inference.engine.server import EngineServer
from app.inference.registry import ModelRegistry
from app.settings import Settings
from tests.engines import TOKEN, Squares, SquaresFamily

def run(group, numbers):
    if 13 in numbers:
        time.sleep(60)
    return [number * number for number in numbers]

async def main():
    encoder = Squares(run)
    settings = Settings(data_dir=sys.argv[2], device="cpu")
    with ThreadPoolExecutor(2) as pool:
        registry = ModelRegistry(settings, SquaresFamily(encoder), pool=pool)
        async with registry.encoder():
            encoder.is_warm = True
        await EngineServer(registry, sys.argv[1], TOKEN, settings).serve()
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_killed_engine_fails_its_requests_at_once_and_another_serves_the_next(
    settings: Settings, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    with socket_folder() as folder:
        path = str(folder / "engine.sock")

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen([sys.executable, "-c", ENGINE, path, str(tmp_path)], cwd=ROOT)

        client = EngineClient([path], TOKEN, settings, pool)
        await client.start()
        with pytest.raises(EngineUnavailableError) as refused:  # after a wait that is bounded
            async with client.encoder():
                pass
        assert refused.value.status == 503
        assert refused.value.retry_after_s is not None
        with pytest.raises(EngineUnavailableError):
            client.list_models()
        engine = start()
        try:
            await until(lambda: bool(client.connected), 60)
            async with client.encoder() as live:
                assert (await live.embed_images([number(5)], deadline_s=30))[0, 0] == 25
                stuck = [asyncio.create_task(live.embed_images([number(13)], deadline_s=60))]
                # the one that the engine stays with: one that came there before it would be answered
                await until(lambda: len(client._engines[0].channel._requests) == 1)
                stuck += [
                    asyncio.create_task(live.embed_images([number(n)], deadline_s=60)) for n in (14, 15)
                ]
                stuck.append(asyncio.create_task(live.embed_texts(["13"], deadline_s=60)))
                await until(lambda: len(client._engines[0].channel._requests) == 4)
                os.kill(engine.pid, signal.SIGKILL)
                async with asyncio.timeout(20):
                    lost = await asyncio.gather(*stuck, return_exceptions=True)
                assert {type(error) for error in lost} == {EngineUnavailableError}
                assert client.list_models()  # what is known does not depend on its being there
                engine.wait()
                engine = start()
                await until(lambda: bool(client.connected), 60)
                # the same handle goes on, since the model is the same
                assert (await live.embed_images([number(6)], deadline_s=30))[0, 0] == 36
                assert count_taken_bytes(client) == 0
        finally:
            await client.close()
            engine.kill()
            engine.wait()


def test_a_front_end_on_uvloop_is_served_too(settings: Settings) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        with ThreadPoolExecutor(2) as pool:
            async with squares(settings, pool) as (_, client), client.encoder() as live:
                large = np.empty((900, 900, 3), np.uint8)
                large[...] = number(12)
                rows = await live.embed_images([number(3), large] * 20, deadline_s=30)
                assert rows[:, 0].tolist() == [9, 144] * 20

    asyncio.run(main(), loop_factory=uvloop.new_event_loop) if sys.version_info >= (3, 12) else uvloop.run(
        main()
    )


def test_a_front_end_loads_no_library_of_models() -> None:
    code = (
        "import sys, app.inference.engine.interface, app.inference.engine.client\n"
        "print([name for name in ('torch', 'transformers', 'onnxruntime', 'scipy') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
