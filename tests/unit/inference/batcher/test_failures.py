"""What a failing item, a failing batch and a lack of memory cost the others."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from app.errors import VisionError
from app.inference.batcher import Batcher
from app.inference.errors import OutOfMemoryError
from app.inference.memory import is_out_of_memory
from tests.engines import Line, until
from tests.unit.inference.batcher.device import Device, hold


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


def test_other_errors_are_not_taken_for_exhausted_memory() -> None:
    assert not is_out_of_memory(ValueError("shape mismatch"))
    assert is_out_of_memory(OutOfMemoryError())


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
