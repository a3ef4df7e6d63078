"""Shared memory is given out once at a time and comes back whole; frames arrive however they are cut."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import TooLargeError
from app.inference.engine import messages as wire
from app.inference.engine.arena import Arena, Ticket, TicketClosedError, map_arena
from app.inference.engine.catalogs import merge_models
from app.inference.engine.link import PREFIX, Link
from app.inference.errors import DeadlineExceededError
from app.inference.model_info import ModelInfo
from app.inference.observing import BatcherStats
from app.inference.protocols import Rgb

SIZE = 1 << 16


def soon() -> float:
    return time.monotonic() + 30


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    made = Arena(SIZE, 0, tmp_path)
    yield made
    made.close()


@given(st.lists(st.tuples(st.booleans(), st.integers(1, SIZE // 3)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_two_pieces_overlap_and_all_of_it_comes_back(steps: list[tuple[bool, int]]) -> None:
    arena = Arena(SIZE, 1 << 40, Path("."))
    ticket = Ticket(arena)
    held: list[tuple[int, int]] = []
    for takes, size in steps:
        if takes or not held:
            held.append((arena.take(size, soon(), ticket), size))
        else:
            arena.give_back(*held.pop(size % len(held)))
        inside = sorted((offset, offset + size) for offset, size in held if offset != wire.INLINE)
        assert all(start >= 0 and end <= SIZE for start, end in inside)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(inside))
    for piece in held:
        arena.give_back(*piece)
    assert arena.taken_bytes == 0
    assert arena.take(SIZE, soon(), ticket) == 0  # in one piece again
    arena.close()


def test_the_other_side_reads_what_was_written_and_nothing_can_take_the_memory_away(arena: Arena) -> None:
    ticket = Ticket(arena)
    pixels = np.random.default_rng(3).integers(0, 256, (20, 30, 3), np.uint8)
    picture, inline = ticket.fill(pixels, soon())
    assert inline is None
    seen = map_arena(arena.fd, SIZE)[picture.offset : picture.offset + picture.size]
    np.testing.assert_array_equal(seen.reshape(20, 30, 3), pixels)
    with pytest.raises(PermissionError):
        os.ftruncate(arena.fd, 10)
    with pytest.raises(ValueError, match="smaller"):
        map_arena(arena.fd, SIZE + 1)
    ticket.close()
    ticket.close()
    assert arena.taken_bytes == 0


def test_a_file_that_could_be_cut_short_is_no_shared_memory(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        file.truncate(SIZE)
        with pytest.raises(ValueError, match="smaller"):
            map_arena(file.fileno(), SIZE)


def test_memory_is_not_given_to_another_while_a_thread_still_writes_into_it(arena: Arena) -> None:
    writing, goes_on = threading.Event(), threading.Event()
    ticket = Ticket(arena)

    class Slow:
        def __call__(self) -> Rgb:
            raise AssertionError

        def make_into(self, place: Any) -> Rgb:
            pixels: Rgb = place(10, 10)
            writing.set()
            assert goes_on.wait(20)
            return pixels

    thread = threading.Thread(target=ticket.fill, args=(Slow(), soon()))
    thread.start()
    assert writing.wait(20)
    ticket.close()
    assert arena.taken_bytes > 0
    goes_on.set()
    thread.join(20)
    assert arena.taken_bytes == 0
    with pytest.raises(TicketClosedError):
        ticket.fill(np.zeros((1, 1, 3), np.uint8), soon())


def test_who_finds_no_room_waits_for_it_until_the_deadline(tmp_path: Path) -> None:
    arena = Arena(SIZE, 1, tmp_path)
    first, second, third = (Ticket(arena) for _ in range(3))
    large = np.zeros((100, 200, 3), np.uint8)
    assert first.fill(large, soon())[0].offset == 0
    assert second.fill(large, soon())[0].offset == wire.INLINE  # one may always go, however little is allowed
    with pytest.raises(DeadlineExceededError):
        third.fill(large, time.monotonic() + 0.05)
    waiting = threading.Thread(target=lambda: found.append(third.fill(large, soon())[0].offset))
    found: list[int] = []
    waiting.start()
    first.close()
    waiting.join(20)
    assert found == [0]
    left = Ticket(arena)
    raised: list[type[BaseException]] = []

    def wait() -> None:
        try:
            left.fill(large, soon())
        except TicketClosedError as error:
            raised.append(type(error))

    leaving = threading.Thread(target=wait)
    leaving.start()
    left.close()
    leaving.join(20)
    assert raised == [TicketClosedError]
    second.close()
    third.close()
    assert arena.taken_bytes == 0
    arena.close()


def test_images_of_one_request_that_find_no_room_together_are_too_large_at_once(tmp_path: Path) -> None:
    arena = Arena(SIZE, 1, tmp_path)
    large = np.zeros((100, 200, 3), np.uint8)
    first, other = Ticket(arena), Ticket(arena)
    second = Ticket(arena, [first])
    third = Ticket(arena, [first, second])
    first.fill(large, soon())
    other.fill(large, soon())  # through the socket, which then is full
    with pytest.raises(DeadlineExceededError):  # another request's memory may come back
        second.fill(large, time.monotonic() + 0.05)
    other.close()
    second.fill(large, soon())
    with pytest.raises(TooLargeError, match="too large together"):
        third.fill(large, soon())
    for ticket in (first, second, third):
        ticket.close()
    assert arena.taken_bytes == 0
    arena.close()


@pytest.mark.parametrize(
    "broken", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3)), np.zeros((2, 2, 4), np.uint8)]
)
def test_what_is_no_picture_takes_no_memory(arena: Arena, broken: Any) -> None:
    ticket = Ticket(arena)
    with pytest.raises(ValueError, match="uint8"):
        ticket.fill(broken, soon())
    ticket.close()
    assert arena.taken_bytes == 0


class Pipe(asyncio.Transport):
    """Collects what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.frames = 0
        self.is_aborted = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True


def link(received: list[Any], max_body_bytes: int = 1 << 22) -> tuple[Link[wire.Reply], Pipe]:
    def keep(messages: Sequence[wire.Reply], body: memoryview) -> None:
        received.append((list(messages), bytes(body)))

    made: Link[wire.Reply] = Link(
        wire.Reply, max_body_bytes=max_body_bytes, on_frame=keep, on_lost=lambda error: None
    )
    pipe = Pipe()
    made.connection_made(pipe)
    return made, pipe


async def test_what_one_turn_of_the_loop_says_is_one_frame_and_arrives_however_it_is_cut() -> None:
    chance = random.Random(2)
    sender, pipe = link([])
    sent = []
    for turn in range(12):
        turns = [wire.EmbedReply(turn * 10 + i, "a@b", 1, 3) for i in range(chance.randrange(1, 5))]
        parts = [chance.randbytes(chance.choice((12, 70_000, 600_000))) for _ in turns]
        for message, part in zip(turns, parts, strict=True):
            sender.send(message, part)
        sent.append((turns, b"".join(parts)))
        await asyncio.sleep(0)
    received: list[Any] = []
    receiver, _ = link(received)
    data = memoryview(bytes(pipe.written))
    while data:
        buffer = receiver.get_buffer(-1)
        size = min(len(buffer), len(data), chance.choice((1, 7, 100, 5_000, 300_000)))
        buffer[:size] = data[:size]
        receiver.buffer_updated(size)
        data = data[size:]
    assert received == sent


async def test_a_frame_beyond_the_limits_is_neither_sent_nor_read() -> None:
    sender, pipe = link([], max_body_bytes=100)
    with pytest.raises(TooLargeError):
        sender.send(wire.Done(1), bytes(101))
    for number in range(3):  # each fits, and not together
        sender.send(wire.EmbedReply(number, "a", 1, 1), bytes(60))
    await asyncio.sleep(0)
    received: list[Any] = []
    receiver, other = link(received, max_body_bytes=100)
    receiver.get_buffer(-1)[: len(pipe.written)] = pipe.written
    receiver.buffer_updated(len(pipe.written))
    assert [len(body) for _, body in received] == [60, 60, 60]
    receiver.get_buffer(-1)[: PREFIX.size] = PREFIX.pack(4, 101)
    receiver.buffer_updated(PREFIX.size)
    assert other.is_aborted


def test_models_of_two_engines_are_one_list() -> None:
    def info(name: str, *, live: bool, items: int = 0) -> ModelInfo:
        stats = BatcherStats(queue_depth=1, max_batch=8, batches=2, items=items) if live else None
        memory = 10 if live else None
        return ModelInfo(name, "clip", (), False, live=live, memory_bytes=memory, users=1, batches=stats)

    ours = [info("a", live=True, items=5), info("b", live=False)]
    theirs = [info("a", live=True, items=6), info("b", live=True, items=7), info("c", live=False)]
    a, b, c = merge_models([ours, theirs])
    assert (a.name, a.memory_bytes, a.users) == ("a", 20, 2)
    assert a.batches == BatcherStats(queue_depth=2, max_batch=8, batches=4, items=11)
    assert (b.name, b.live, b.memory_bytes) == ("b", True, 10)
    assert (c.name, c.live) == ("c", False)
    assert merge_models([]) == []
