"""Two batches on a device at a time: what is launched when, and that failures cost nobody else anything."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from app.errors import OverloadedError
from app.inference.errors import DeadlineExceededError, OutOfMemoryError
from app.inference.pipeline import PipelinedBatcher


class Device:
    """Squares numbers; each launched batch is done when it is let go."""

    def __init__(self) -> None:
        self.launched: list[list[int]] = []
        self.ran: list[list[int]] = []
        self.held = False
        self.gates: list[threading.Event] = []
        self.fits = 10**9
        self.bad: set[int] = set()
        self.fails_late = False
        self.interrupts = False

    def _check(self, items: list[int]) -> None:
        if len(items) > self.fits:
            raise MemoryError
        if self.bad.intersection(items):
            raise SystemExit("bad item") if self.interrupts else ValueError("bad item")

    def launch(self, group: str, items: list[int]) -> Callable[[], Sequence[int]] | None:
        if group != "image":
            return None
        if not self.fails_late:
            self._check(items)
        gate = threading.Event()
        if not self.held:
            gate.set()
        self.gates.append(gate)
        self.launched.append(items)

        def finish() -> Sequence[int]:
            assert gate.wait(20)
            self._check(items)
            return [item * item for item in items]

        return finish

    def run(self, group: str, items: list[int]) -> Sequence[int]:
        self.ran.append(items)
        self._check(items)
        return [item * item for item in items]

    def let_go(self) -> None:
        self.held = False
        for gate in list(self.gates):
            gate.set()


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.let_go()


@pytest.fixture
def batcher(device: Device) -> Iterator[PipelinedBatcher[int, int]]:
    made = PipelinedBatcher("squares", device.run, device.launch, max_batch=8, max_queue=64)
    yield made
    device.let_go()
    made.close()


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        await asyncio.sleep(0.001)


async def flying(device: Device, batcher: PipelinedBatcher[int, int], count: int) -> asyncio.Task[list[int]]:
    """A batch of that many items that stays on the device."""
    device.held = True
    task = asyncio.create_task(batcher.submit_many("image", range(100, 100 + count)))
    before = len(device.launched)
    await until(lambda: len(device.launched) > before)
    return task


async def test_the_next_batch_is_launched_while_one_is_computed(
    device: Device, batcher: PipelinedBatcher[int, int]
) -> None:
    first = await flying(device, batcher, 4)
    second = asyncio.create_task(batcher.submit_many("image", [1, 2, 3]))
    await until(lambda: len(device.launched) == 2)
    assert not first.done()
    device.let_go()
    assert await second == [1, 4, 9]
    assert await first == [item * item for item in range(100, 104)]


async def test_no_more_than_two_batches_are_on_the_device(
    device: Device, batcher: PipelinedBatcher[int, int]
) -> None:
    tasks = [await flying(device, batcher, 4)]
    tasks.append(await flying(device, batcher, 8))
    third = asyncio.create_task(batcher.submit_many("image", list(range(8))))
    await until(lambda: batcher.stats().queue_depth == 8)
    await asyncio.sleep(0.05)
    assert len(device.launched) == 2
    device.let_go()
    assert await third == [item * item for item in range(8)]
    await asyncio.gather(*tasks)


async def test_a_few_items_wait_for_more_behind_a_large_batch(
    device: Device, batcher: PipelinedBatcher[int, int]
) -> None:
    first = await flying(device, batcher, 8)
    early = asyncio.create_task(batcher.submit("image", 1))
    await until(lambda: batcher.stats().queue_depth == 1)
    await asyncio.sleep(0.05)
    assert len(device.launched) == 1
    others = [asyncio.create_task(batcher.submit("image", item)) for item in (2, 3, 4)]
    await until(lambda: len(device.launched) == 2)
    assert device.launched[1] == [1, 2, 3, 4]
    device.let_go()
    assert [await early, *[await task for task in others]] == [1, 4, 9, 16]
    await first


async def test_few_items_run_as_soon_as_the_device_is_free(
    device: Device, batcher: PipelinedBatcher[int, int]
) -> None:
    first = await flying(device, batcher, 8)
    lone = asyncio.create_task(batcher.submit("image", 3))
    await until(lambda: batcher.stats().queue_depth == 1)
    device.let_go()
    assert await lone == 9
    await first


@pytest.mark.parametrize("fails_late", [False, True])
async def test_a_bad_item_fails_alone(
    device: Device, batcher: PipelinedBatcher[int, int], fails_late: bool
) -> None:
    device.bad, device.fails_late = {2}, fails_late
    tasks = [asyncio.create_task(batcher.submit("image", item)) for item in range(4)]
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [found[0], found[1], found[3]] == [0, 1, 9]
    assert isinstance(found[2], ValueError)


@pytest.mark.parametrize("fails_late", [False, True])
async def test_an_interruption_leaves_nobody_waiting_and_the_next_batch_runs(
    device: Device, batcher: PipelinedBatcher[int, int], fails_late: bool
) -> None:
    device.bad, device.fails_late, device.interrupts = {2}, fails_late, True
    async with asyncio.timeout(20):
        with pytest.raises(RuntimeError, match="interrupted by SystemExit"):
            await batcher.submit("image", 2)
        assert await batcher.submit("image", 3) == 9


@pytest.mark.parametrize("fails_late", [False, True])
async def test_lack_of_memory_halves_the_batch_and_those_after_it(
    device: Device, batcher: PipelinedBatcher[int, int], fails_late: bool
) -> None:
    device.fits, device.fails_late = 4, fails_late
    assert await batcher.submit_many("image", range(8)) == [item * item for item in range(8)]
    assert batcher.stats().max_batch == 4
    device.fits = 0
    with pytest.raises(OutOfMemoryError):
        await batcher.submit("image", 1)


async def test_other_groups_run_beside_the_pipeline(
    device: Device, batcher: PipelinedBatcher[int, int]
) -> None:
    first = await flying(device, batcher, 2)
    assert await batcher.submit_many("text", [5, 6]) == [25, 36]
    assert not first.done()
    device.let_go()
    await first


async def test_a_deadline_ends_the_wait_for_a_batch_on_the_device(
    device: Device, batcher: PipelinedBatcher[int, int]
) -> None:
    device.held = True
    with pytest.raises(DeadlineExceededError):
        await batcher.submit("image", 1, deadline=time.monotonic() + 0.2)
    device.let_go()
    assert await batcher.submit("image", 2) == 4


async def test_closing_finishes_what_is_on_the_device_and_refuses_the_rest(
    device: Device, batcher: PipelinedBatcher[int, int]
) -> None:
    tasks = [await flying(device, batcher, 8), await flying(device, batcher, 8)]
    waiting = asyncio.create_task(batcher.submit("image", 1))
    await until(lambda: batcher.stats().queue_depth == 1)
    closing = asyncio.create_task(asyncio.to_thread(batcher.close))
    with pytest.raises(OverloadedError):
        await waiting
    device.let_go()
    await closing
    assert [len(await task) for task in tasks] == [8, 8]
    with pytest.raises(OverloadedError):
        await batcher.submit("image", 1)


async def test_the_largest_batch_can_be_raised_while_it_works(
    device: Device, batcher: PipelinedBatcher[int, int]
) -> None:
    batcher.allow(32)
    await flying(device, batcher, 32)
    assert len(device.launched[-1]) == 32
    device.let_go()
    batcher.allow(4)
    assert await batcher.submit_many("image", range(8)) == [item * item for item in range(8)]
    assert max(len(items) for items in device.launched[1:]) == 4


async def test_every_item_is_counted(device: Device, batcher: PipelinedBatcher[int, int]) -> None:
    tasks = [asyncio.create_task(batcher.submit("image", item)) for item in range(50)]
    assert await asyncio.gather(*tasks) == [item * item for item in range(50)]
    await until(lambda: batcher.stats().items == 50)
    stats = batcher.stats()
    assert stats.queue_depth == 0
    assert stats.batches == len(device.launched) + len(device.ran)
