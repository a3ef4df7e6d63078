"""A device, and the batcher before it: in this process, and behind a model and a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.inference.batcher import Batcher
from app.settings import Settings
from tests.engines import Line, over_a_socket
from tests.unit.inference.batcher.device import Device


@pytest.fixture
def device() -> Iterator[Device]:
    held = Device()
    yield held
    held.gate.set()


@pytest.fixture
def batcher(device: Device) -> Iterator[Batcher[int, int]]:
    made: Batcher[int, int] = Batcher("squares", device.run, max_batch=8, max_queue=64)
    yield made
    device.gate.set()
    made.close()


@pytest.fixture(params=["in process", "over a socket"])
async def make_line(
    request: pytest.FixtureRequest, device: Device, tmp_path: Path
) -> AsyncIterator[Callable[[int], Awaitable[Line]]]:
    """`await make_line(max_queue)`: the device behind a batcher, or behind that, a model and a socket."""
    async with AsyncExitStack() as stack:

        async def make(max_queue: int = 64) -> Line:
            if request.param == "in process":
                batcher: Batcher[int, int] = Batcher("squares", device.run, max_batch=8, max_queue=max_queue)
                stack.push_async_callback(asyncio.to_thread, batcher.close)
                return batcher
            settings = Settings(data_dir=tmp_path, device="cpu", max_queue=max_queue, max_cached_texts=0)
            return await stack.enter_async_context(over_a_socket(device.run, settings))

        yield make
        device.gate.set()


@pytest.fixture
async def line(make_line: Callable[[int], Awaitable[Line]]) -> Line:
    return await make_line(64)
