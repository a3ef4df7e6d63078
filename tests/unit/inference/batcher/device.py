"""What stands for a device in tests of the batcher: it squares numbers, and can be held or made to fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from app.inference.batcher import Batcher
from tests.engines import Line, until


class Device:
    """Squares numbers in batches; can be held, told to fail, or given too little memory."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.running = threading.Event()
        self.bad: set[int] = set()
        self.fits = 10**9
        self.error: Callable[[], Exception] = lambda: ValueError("bad item")
        self.memory_error: Callable[[], Exception] = MemoryError

    def run(self, group: str, items: list[int]) -> Sequence[int]:
        self.batches.append((group, items))
        self.running.set()
        if not self.gate.wait(20):
            raise TimeoutError
        if len(items) > self.fits:
            raise self.memory_error()
        if self.bad.intersection(items):
            raise self.error()
        return [item * item for item in items]

    @property
    def sizes(self) -> list[int]:
        return [len(items) for _, items in self.batches]


async def waits(line: Line, count: int) -> None:
    """So many items wait: at once in one process; an engine hears soon of those that have left."""
    if not isinstance(line, Batcher):
        await until(lambda: line.stats().queue_depth == count)
    assert line.stats().queue_depth == count


async def hold(device: Device, batcher: Line) -> asyncio.Task[int]:
    """Occupy the device with item 0 until `device.gate` is set."""
    device.gate.clear()
    device.running.clear()
    first = asyncio.create_task(batcher.submit("image", 0))
    await until(device.running.is_set)
    return first
