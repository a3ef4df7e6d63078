"""The batcher under load, failure, cancellation, deadlines and lack of memory, with real threads."""

from __future__ import annotations

import asyncio
import gc
import random
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest

from app.errors import OverloadedError, VisionError
from app.inference.batcher import Batcher
from app.inference.errors import DeadlineExceededError, OutOfMemoryError
from app.inference.memory import is_out_of_memory
from app.settings import Settings
from tests.engines import Line, over_a_socket, until


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
        await line.submit("image", 5, deadline=time.monotonic() + 0.05)
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
        late = asyncio.create_task(batcher.submit("image", 5, deadline=time.monotonic() + 0.05))
        await until(lambda: batcher.stats().queue_depth == 1)
        time.sleep(0.1)  # on purpose: the loop's own timer cannot fire  # noqa: ASYNC251
        device.gate.set()
        end = time.monotonic() + 10
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
            await line.submit("image", 1, deadline=time.monotonic() + 0.5)
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


async def test_one_bad_item_does_not_fail_its_neighbours(device: Device, line: Line) -> None:
    first = await hold(device, line)
    device.bad = {3}
    rest = [asyncio.create_task(line.submit("image", n)) for n in range(1, 6)]
    await until(lambda: line.stats().queue_depth == 5)
    device.gate.set()
    await first
    settled = await asyncio.gather(*rest, return_exceptions=True)
    assert [s for s in settled if not isinstance(s, Exception)] == [1, 4, 16, 25]
    if isinstance(line, Batcher):
        assert isinstance(settled[2], ValueError)
    else:  # what no client should see does not leave the engine
        assert isinstance(settled[2], VisionError)
        assert (settled[2].status, settled[2].code) == (500, "internal_error")
        assert "bad item" not in str(settled[2])
    device.bad = set()
    assert await line.submit("image", 3) == 9


@pytest.mark.parametrize("error", [StopIteration, SystemExit, KeyboardInterrupt, RecursionError])
async def test_no_kind_of_failure_ends_the_thread(
    device: Device, batcher: Batcher[int, int], error: type[Exception]
) -> None:
    device.bad, device.error = {1}, error
    with pytest.raises((RuntimeError, RecursionError)):
        await batcher.submit("image", 1)
    assert await batcher.submit("image", 2) == 4


async def test_too_few_results_are_an_error_not_a_mismatch() -> None:
    batcher: Batcher[int, int] = Batcher("short", lambda group, items: items[:-1], max_batch=4, max_queue=4)
    try:
        with pytest.raises(RuntimeError):
            await batcher.submit("image", 1)
    finally:
        await asyncio.to_thread(batcher.close)


@pytest.mark.parametrize(
    "memory_error",
    [
        MemoryError,
        lambda: RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        lambda: RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 1024"),
        lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        lambda: type("OutOfMemoryError", (RuntimeError,), {})(),
    ],
)
async def test_out_of_memory_halves_the_batch_and_remembers(
    device: Device, line: Line, memory_error: Callable[[], Exception]
) -> None:
    first = await hold(device, line)
    device.fits, device.memory_error = 4, memory_error
    rest = [asyncio.create_task(line.submit("image", n)) for n in range(1, 17)]
    await until(lambda: line.stats().queue_depth == 16)
    device.gate.set()
    assert await asyncio.gather(first, *rest) == [n * n for n in range(17)]
    assert device.sizes == [1, 8, 4, 4, 4, 4]
    assert line.stats().max_batch == 4
    assert line.stats().out_of_memory == 1


async def test_out_of_memory_on_one_item_is_an_error_and_the_next_works(device: Device, line: Line) -> None:
    device.fits = 0
    with pytest.raises(OutOfMemoryError):
        await line.submit("image", 1)
    device.fits = 8
    assert await line.submit("image", 2) == 4


async def test_the_batch_grows_back_after_many_good_ones(device: Device, line: Line) -> None:
    first = await hold(device, line)
    device.fits = 4
    rest = [asyncio.create_task(line.submit("image", n)) for n in range(8)]
    await until(lambda: line.stats().queue_depth == 8)
    device.gate.set()
    await asyncio.gather(first, *rest)
    assert line.stats().max_batch == 4
    for n in range(260):
        await line.submit("image", n)
    assert line.stats().max_batch == 8


async def test_the_failed_batch_is_freed_before_it_is_tried_again(batcher: Batcher[int, int]) -> None:
    """Frames of a failed forward pass hold its tensors; they must be gone when the halves run."""
    alive: list[weakref.ref[np.ndarray]] = []
    seen: list[bool] = []

    def run(group: str, items: list[int]) -> list[int]:
        gc.collect()
        seen.append(any(ref() is not None for ref in alive))
        tensor = np.zeros(1000)
        alive.append(weakref.ref(tensor))
        if len(items) > 2:
            try:
                raise MemoryError
            except MemoryError as inner:
                raise RuntimeError(f"out of memory with {tensor.size}") from inner
        return items

    other: Batcher[int, int] = Batcher("frames", run, max_batch=4, max_queue=8)
    try:
        assert await other.submit_many("image", [1, 2, 3, 4]) == [1, 2, 3, 4]
    finally:
        await asyncio.to_thread(other.close)
    assert seen == [False, False, False]


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
    assert device.running.wait(10)
    for thread in threads[1:]:
        thread.start()
    end = time.monotonic() + 10
    while batcher.stats().queue_depth < 4 and time.monotonic() < end:
        time.sleep(0.001)
    device.gate.set()
    for thread in threads:
        thread.join(10)
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
        async with asyncio.timeout(30):
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
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "5"


def test_other_errors_are_not_taken_for_exhausted_memory() -> None:
    assert not is_out_of_memory(ValueError("shape mismatch"))
    assert is_out_of_memory(OutOfMemoryError())


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


async def test_what_joined_a_batch_that_fails_is_tried_again_by_itself(device: Device) -> None:
    def run(group: str, items: list[int]) -> Sequence[int]:
        device.running.set()
        assert device.gate.wait(20)
        items = items + batcher.join(lambda item: True)
        if 2 in items:
            raise ValueError("bad item")
        return [item * item for item in items]

    batcher: Batcher[int, int] = Batcher("joins", run, max_batch=1, max_queue=100)
    device.gate.clear()
    try:
        asked = [asyncio.create_task(batcher.submit("a", 1))]
        await asyncio.to_thread(device.running.wait, 20)
        asked += [asyncio.create_task(batcher.submit("a", item)) for item in (2, 3)]
        await asyncio.sleep(0)
        device.gate.set()
        one, two, three = await asyncio.gather(*asked, return_exceptions=True)
    finally:
        device.gate.set()
        await asyncio.to_thread(batcher.close)
    assert (one, three) == (1, 9)
    assert isinstance(two, ValueError)
