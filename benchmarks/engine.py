"""What it costs to have models in another process: CPU time of both sides for an image, and how long a lone one takes.

`python -m benchmarks.engine`: the model does nothing, so that what is measured is the way to it: raw pixels handed
over in one process, and through an engine's socket with shared memory (as front ends do) or without.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from app.families import Families
from app.inference.engine.client import EngineClient
from app.inference.engine.interface import Engine, ServedEncoder
from app.inference.engine.server import EngineServer
from app.inference.registry import ModelRegistry
from app.inference.sources import EncoderConfig, EncoderSource, Kind
from app.settings import Settings

SIZES = {"224x224 (150 KB)": (224, 224), "640x480 (920 KB)": (480, 640)}
DIM = 512
CLIENTS = 32
TOKEN_FILE = "token"  # noqa: S105 - its name, not its content
_TICKS = os.sysconf("SC_CLK_TCK")


class Nothing:
    """An encoder whose work is none."""

    name, family, fingerprint, runtime = "nothing", "lite", "0" * 16, "none"
    dim, input_size, memory_bytes, temperature = DIM, 8, 1, 1.0

    def preprocess(self, image: Any) -> Any:
        return np.zeros((3, 8, 8), np.uint8)

    def encode_images(self, pixels: Any) -> Any:
        return np.ones((len(pixels), DIM), np.float32)


class OnlyNothing(Families):
    """Whose only encoder it is."""

    def load(self, kind: Kind, source: EncoderSource, config: EncoderConfig) -> Any:
        return Nothing()


def settings_for(folder: str, *, arena_mb: int = 64) -> Settings:
    return Settings(data_dir=Path(folder), device="cpu", max_queue=1_000, engine_arena_mb=arena_mb)


async def serve(folder: str) -> None:
    settings = settings_for(folder)
    with ThreadPoolExecutor(2) as pool:
        registry = ModelRegistry(settings, OnlyNothing(), pool=pool)
        token = (Path(folder) / TOKEN_FILE).read_text()
        await EngineServer(registry, f"{folder}/engine.sock", token, settings).serve()
        await asyncio.Event().wait()


@asynccontextmanager
async def socket_engine(arena_mb: int) -> AsyncIterator[tuple[Engine, int]]:
    """An engine in a process of its own, and its process id."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        token = secrets.token_hex(16)
        (Path(folder) / TOKEN_FILE).write_text(token)  # the folder is this user's alone
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.engine", "--serve", folder
        )
        settings = settings_for(folder, arena_mb=arena_mb).replace(engine_wait_s=60.0)
        client = EngineClient([f"{folder}/engine.sock"], token, settings, pool)
        await client.start()
        try:
            yield client, process.pid
        finally:
            await client.close()
            process.kill()
            await process.wait()


@asynccontextmanager
async def own_engine() -> AsyncIterator[tuple[Engine, int | None]]:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        registry = ModelRegistry(settings_for(folder), OnlyNothing(), pool=pool)
        try:
            yield registry, None
        finally:
            await registry.close()


def cpu_s(pid: int | None) -> float:
    """Of this process, and of another where there is one."""
    other = 0.0
    if pid is not None:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        other = (int(fields[11]) + int(fields[12])) / _TICKS
    return time.process_time() + other


async def cost(live: ServedEncoder, image: Any, count: int, pid: int | None) -> tuple[float, float]:
    """CPU milliseconds an image with many clients, and images a second."""
    left = count

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await live.embed_images([lambda: image], deadline_s=60)

    await asyncio.gather(*[client() for _ in range(CLIENTS)])  # once, to warm up
    left, began, before = count, time.perf_counter(), cpu_s(pid)
    await asyncio.gather(*[client() for _ in range(CLIENTS)])
    return 1e3 * (cpu_s(pid) - before) / count, count / (time.perf_counter() - began)


async def measure_lone(live: ServedEncoder, image: Any, count: int = 300) -> float:
    """Median milliseconds of one image at a time."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await live.embed_images([lambda: image], deadline_s=60)
        took.append(time.perf_counter() - began)
    return 1e3 * sorted(took)[count // 2]


async def measure(count: int) -> Table:
    table = Table("image", "way", "CPU ms an image", "images/s, 32 clients", "alone, ms")
    ways = {
        "one process": own_engine,
        "socket, shared memory": lambda: socket_engine(64),
        "socket alone": lambda: socket_engine(1),
    }
    for label, (height, width) in SIZES.items():
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        for way, opened in ways.items():
            async with opened() as (engine, pid), engine.encoder("lite") as live:
                cpu_ms, rate = await cost(live, image, count, pid)
                table.add_row(
                    label, way, f"{cpu_ms:.3f}", f"{rate:.0f}", f"{await measure_lone(live, image):.2f}"
                )
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, default=3_000, help="how many of each")
    parser.add_argument("--uvloop", action="store_true", help="the loop that front ends run on")
    told = parser.parse_args(arguments)
    if told.serve:
        asyncio.run(serve(told.serve))
    elif told.uvloop:
        import uvloop

        Console().print(uvloop.run(measure(told.images)))
    else:
        Console().print(asyncio.run(measure(told.images)))


if __name__ == "__main__":
    main()
