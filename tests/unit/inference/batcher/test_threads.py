"""The batcher's thread beside loops, observers and a thousand submitters, and its end."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from app.errors import OverloadedError
from app.inference.batcher import Batcher
from tests.engines import until
from tests.unit.inference.batcher.device import Device, hold


async def test_closing_fails_what_waits_and_refuses_what_comes(device: Device) -> None:
    batcher: Batcher[int, int] = Batcher("closing", device.run, max_batch=8, max_queue=8)
    first = await hold(device, batcher)
    waiting = asyncio.create_task(batcher.submit("image", 1))
    await until(lambda: batcher.stats().queue_depth == 1)
    closing = asyncio.create_task(asyncio.to_thread(batcher.close))
    with pytest.raises(OverloadedError):
        await waiting
    device.gate.set()
    await closing
    assert await first == 0
    with pytest.raises(OverloadedError):
        await batcher.submit("image", 2)
    batcher.close()
    assert "batcher-closing" not in {thread.name for thread in threading.enumerate()}


def test_a_loop_that_closed_meanwhile_harms_nobody(device: Device, batcher: Batcher[int, int]) -> None:
    device.gate.clear()

    async def leave() -> None:
        task = asyncio.create_task(batcher.submit("image", 1))
        await until(device.running.is_set)
        task.cancel()

    asyncio.run(leave())
    device.gate.set()
    assert asyncio.run(batcher.submit("image", 2)) == 4


def test_submitters_of_two_loops_share_a_batch(device: Device, batcher: Batcher[int, int]) -> None:
    device.gate.clear()
    results: dict[int, int] = {}

    def client(n: int) -> None:
        results[n] = asyncio.run(batcher.submit("image", n))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(5)]
    threads[0].start()
    assert device.running.wait(60)
    for thread in threads[1:]:
        thread.start()
    end = time.monotonic() + 60
    while batcher.stats().queue_depth < 4 and time.monotonic() < end:
        time.sleep(0.001)
    device.gate.set()
    for thread in threads:
        thread.join(60)
    assert results == {n: n * n for n in range(5)}
    assert device.sizes == [1, 4]


async def test_a_batch_costs_the_loop_one_callback(device: Device, batcher: Batcher[int, int]) -> None:
    loop = asyncio.get_running_loop()
    first = await hold(device, batcher)
    rest = [asyncio.create_task(batcher.submit("image", n)) for n in range(1, 9)]
    await until(lambda: batcher.stats().queue_depth == 8)
    calls = 0
    original = loop.call_soon_threadsafe

    def counting(*args: object, **kwargs: object) -> asyncio.Handle:
        nonlocal calls
        calls += 1
        return original(*args, **kwargs)  # type: ignore[arg-type]

    loop.call_soon_threadsafe = counting  # type: ignore[method-assign, assignment]
    try:
        device.gate.set()
        await asyncio.gather(first, *rest)
    finally:
        loop.call_soon_threadsafe = original  # type: ignore[method-assign]
    assert calls == 2


async def test_the_observer_hears_of_batches_and_drops_and_may_fail(device: Device) -> None:
    class Observer:
        def __init__(self) -> None:
            self.ran: list[tuple[str, int]] = []
            self.dropped: list[tuple[str, int]] = []

        def batch_ran(
            self, model: str, group: str, waits_s: Sequence[float], run_s: float, queue_depth: int
        ) -> None:
            assert all(wait >= 0 for wait in waits_s)
            assert run_s >= 0
            self.ran.append((group, len(waits_s)))
            raise RuntimeError("an observer's own problem")

        def items_dropped(self, model: str, reason: str, count: int) -> None:
            self.dropped.append((reason, count))

    observer = Observer()
    batcher: Batcher[int, int] = Batcher("seen", device.run, max_batch=8, max_queue=2, observer=observer)
    try:
        first = await hold(device, batcher)
        rest = [asyncio.create_task(batcher.submit("image", n)) for n in (1, 2)]
        await until(lambda: batcher.stats().queue_depth == 2)
        with pytest.raises(OverloadedError):
            await batcher.submit("image", 3)
        rest[0].cancel()
        device.gate.set()
        await asyncio.gather(first, *rest, return_exceptions=True)
    finally:
        device.gate.set()
        await asyncio.to_thread(batcher.close)
    assert observer.ran == [("image", 1), ("image", 1)]
    assert observer.dropped == [("full", 1), ("cancelled", 1)]


async def test_a_thousand_submitters_all_settle_with_their_own_result() -> None:
    """Random cancellations, deadlines, bad items, memory failures: each gets what is theirs or an error."""
    chance = random.Random(7)
    bad = {n for n in range(1000) if chance.random() < 0.03}

    def run(group: str, items: list[int]) -> np.ndarray:
        time.sleep(chance.random() * 0.002)
        if len(items) > 12 and chance.random() < 0.3:
            raise MemoryError
        if bad.intersection(items):
            raise ValueError("bad item")
        return np.array(items) * (2 if group == "image" else 3)

    batcher: Batcher[int, int] = Batcher("chaos", run, max_batch=16, max_queue=2000)

    async def client(n: int) -> str:
        await asyncio.sleep(chance.random() * 0.3)
        group = "image" if n % 3 else "text"
        deadline = time.monotonic() + (0.01 if n % 11 == 0 else 60)
        result = await batcher.submit(group, n, deadline=deadline)
        assert result == n * (2 if group == "image" else 3)
        return "ok"

    tasks = [asyncio.create_task(client(n)) for n in range(1000)]

    async def disconnect() -> None:
        for task in chance.sample(tasks, 150):
            await asyncio.sleep(0.001)
            task.cancel()

    try:
        async with asyncio.timeout(60):
            await disconnect()
            settled = await asyncio.gather(*tasks, return_exceptions=True)
        names = {n: s if s == "ok" else type(s).__name__ for n, s in enumerate(settled)}
        allowed = {"ok", "CancelledError", "ValueError", "DeadlineExceededError", "OutOfMemoryError"}
        assert set(names.values()) <= allowed
        assert all(names[n] != "ok" for n in bad)
        assert all(name != "ValueError" or n in bad for n, name in names.items())
        assert sum(name == "ok" for name in names.values()) > 600
        assert batcher.stats().queue_depth == 0
        batcher_result = await batcher.submit("image", min(set(range(1000)) - bad))
        assert batcher_result % 2 == 0
    finally:
        await asyncio.to_thread(batcher.close)


async def test_preparing_the_next_batch_overlaps_running_this_one() -> None:
    """While an item is on the device, the next one is prepared."""
    step, preparing, overlapped = 0.02, 0, 0

    def run(group: str, items: list[int]) -> list[int]:
        nonlocal overlapped
        time.sleep(step)
        overlapped += preparing > 0
        return items

    batcher: Batcher[int, int] = Batcher("overlap", run, max_batch=1, max_queue=64)

    async def client(n: int) -> int:
        nonlocal preparing
        for _ in range(10):
            preparing += 1
            await asyncio.to_thread(time.sleep, step)
            preparing -= 1
            await batcher.submit("image", n)
        return n

    try:
        await asyncio.gather(client(1), client(2))
    finally:
        await asyncio.to_thread(batcher.close)
    assert overlapped > 0


def test_a_process_that_forgot_to_close_still_ends() -> None:
    code = (
        "import asyncio\n"
        "from app.inference.batcher import Batcher\n"
        "b = Batcher('forgotten', lambda group, items: items, max_batch=2, max_queue=2)\n"
        "print(asyncio.run(b.submit('image', 5)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "5"
