"""What waits and in which order it runs: batches, groups, full queues, deadlines, cancelled work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from app.errors import OverloadedError
from app.inference.batcher import Batcher
from app.inference.errors import DeadlineExceededError
from tests.engines import Line, until
from tests.unit.inference.batcher.device import Device, hold, waits


async def test_a_lone_item_runs_at_once(line: Line) -> None:
    began = time.monotonic()
    assert await line.submit("image", 7) == 49
    assert time.monotonic() - began < 5  # there is no window to wait for


async def test_what_gathers_while_the_device_is_busy_runs_as_one_batch(device: Device, line: Line) -> None:
    first = await hold(device, line)
    rest = [asyncio.create_task(line.submit("image", n)) for n in range(1, 7)]
    await until(lambda: line.stats().queue_depth == 6)
    device.gate.set()
    assert await first == 0
    assert await asyncio.gather(*rest) == [n * n for n in range(1, 7)]
    assert device.sizes == [1, 6]


async def test_no_batch_is_larger_than_the_largest(device: Device, line: Line) -> None:
    first = await hold(device, line)
    rest = [asyncio.create_task(line.submit("image", n)) for n in range(1, 21)]
    await until(lambda: line.stats().queue_depth == 20)
    device.gate.set()
    await asyncio.gather(first, *rest)
    assert device.sizes == [1, 8, 8, 4]


async def test_a_batch_holds_one_group_and_the_oldest_item_chooses_it(device: Device, line: Line) -> None:
    first = await hold(device, line)
    order = [("text", 1), ("image", 2), ("text", 3), ("image", 4)]
    rest = []
    for group, item in order:
        rest.append(asyncio.create_task(line.submit(group, item)))
        await until(lambda: line.stats().queue_depth == len(rest))
    device.gate.set()
    assert await asyncio.gather(first, *rest) == [0, 1, 4, 9, 16]
    assert device.batches[1:] == [("text", [1, 3]), ("image", [2, 4])]


async def test_a_full_queue_refuses_and_recovers(
    device: Device, make_line: Callable[[int], Awaitable[Line]]
) -> None:
    line = await make_line(4)
    first = await hold(device, line)
    rest = [asyncio.create_task(line.submit("image", n)) for n in range(1, 5)]
    await until(lambda: line.stats().queue_depth == 4)
    with pytest.raises(OverloadedError) as refused:
        await line.submit("image", 5)
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s >= 1
    assert (refused.value.status, refused.value.code) == (503, "overloaded")
    device.gate.set()
    await asyncio.gather(first, *rest)
    assert await line.submit("image", 5) == 25


async def test_many_items_are_queued_together_or_not_at_all(device: Device) -> None:
    batcher: Batcher[int, int] = Batcher("small", device.run, max_batch=8, max_queue=4)
    try:
        first = await hold(device, batcher)
        with pytest.raises(OverloadedError):
            await batcher.submit_many("image", range(5))
        assert batcher.stats().queue_depth == 0
        device.gate.set()
        await first
        assert await batcher.submit_many("image", [3, 1, 2]) == [9, 1, 4]
        assert await batcher.submit_many("image", []) == []
    finally:
        await asyncio.to_thread(batcher.close)


async def test_an_expired_item_never_reaches_the_device(device: Device, line: Line) -> None:
    first = await hold(device, line)
    with pytest.raises(DeadlineExceededError):
        await line.submit("image", 5, deadline=time.monotonic() + 2)
    await waits(line, 0)
    with pytest.raises(DeadlineExceededError):
        await line.submit("image", 6, deadline=time.monotonic() - 1)
    device.gate.set()
    await first
    assert await line.submit("image", 7) == 49
    assert [items for _, items in device.batches] == [[0], [7]]
    # what is late already never leaves a front end
    assert line.stats().dropped == (2 if isinstance(line, Batcher) else 1)


async def test_the_thread_drops_expired_items_even_when_the_loop_is_too_busy_to(device: Device) -> None:
    batcher: Batcher[int, int] = Batcher("late", device.run, max_batch=8, max_queue=8)
    try:
        first = await hold(device, batcher)
        late = asyncio.create_task(batcher.submit("image", 5, deadline=time.monotonic() + 2))
        await until(lambda: batcher.stats().queue_depth == 1)
        time.sleep(2.1)  # on purpose: the loop's own timer cannot fire  # noqa: ASYNC251
        device.gate.set()
        end = time.monotonic() + 60
        while batcher.stats().queue_depth and time.monotonic() < end:
            time.sleep(0.001)  # noqa: ASYNC251
        with pytest.raises(DeadlineExceededError):
            await late
        assert await first == 0
        assert device.sizes == [1]
    finally:
        await asyncio.to_thread(batcher.close)


async def test_a_deadline_that_passes_while_running_is_reported_at_once(device: Device, line: Line) -> None:
    device.gate.clear()
    async with asyncio.timeout(30):
        with pytest.raises(DeadlineExceededError):
            await line.submit("image", 1, deadline=time.monotonic() + 2)
    assert device.running.is_set()
    device.gate.set()
    assert await line.submit("image", 2) == 4


async def test_cancelled_work_is_dropped_before_the_device(device: Device, line: Line) -> None:
    first = await hold(device, line)
    gone = [asyncio.create_task(line.submit("image", n)) for n in (1, 2, 3)]
    many = asyncio.create_task(line.submit_many("image", [4, 5]))
    kept = asyncio.create_task(line.submit("image", 6))
    await until(lambda: line.stats().queue_depth == 6)
    for task in (*gone, many):
        task.cancel()
    await asyncio.gather(*gone, many, return_exceptions=True)
    await waits(line, 1)
    device.gate.set()
    assert await asyncio.gather(first, kept) == [0, 36]
    assert [items for _, items in device.batches] == [[0], [6]]


async def test_what_waits_may_join_a_running_batch(device: Device) -> None:
    """Only of its group, in order, up to the first that does not fit or that is younger than another group's."""
    joined: list[list[int]] = []

    def run(group: str, items: list[int]) -> Sequence[int]:
        device.batches.append((group, items))
        device.running.set()
        assert device.gate.wait(20)
        if group == "a" and not joined:
            joined.append(batcher.join(lambda item: item != 5))
            items = items + joined[0]
        return [item * item for item in items]

    batcher: Batcher[int, int] = Batcher("joins", run, max_batch=1, max_queue=100)
    device.gate.clear()
    try:
        asked = [asyncio.create_task(batcher.submit("a", 1))]
        await asyncio.to_thread(device.running.wait, 20)
        for group, item in [("a", 2), ("a", 3), ("b", 10), ("a", 4), ("a", 5)]:
            asked.append(asyncio.create_task(batcher.submit(group, item)))
            await asyncio.sleep(0)
        gone = asyncio.create_task(batcher.submit("a", 6))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        device.gate.set()
        assert await asyncio.gather(*asked) == [1, 4, 9, 100, 16, 25]
    finally:
        device.gate.set()
        await asyncio.to_thread(batcher.close)
    assert joined == [[2, 3]]
    stats = batcher.stats()
    assert (stats.items, stats.queue_depth) == (6, 0)
    assert batcher.join(lambda item: True) == []
