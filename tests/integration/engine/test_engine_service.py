"""Requests to an engine behind a socket: those that are left, and the memory that pixels travel in."""

from __future__ import annotations

import asyncio
import io
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.errors import OverloadedError, TooLargeError
from app.families import FAMILIES
from app.inference.engine.client import EngineClient
from app.inference.errors import (
    DeadlineExceededError,
    EngineUnavailableError,
)
from app.inference.prompts import AnswerExample, Prompt
from app.inference.protocols import Place, Rgb
from app.inference.registry import ModelRegistry
from app.media.errors import InvalidImageError
from app.media.images import ImageLimits, decode_pixels
from app.settings import Settings
from tests.engines import (
    TOKEN,
    Gate,
    count_taken_bytes,
    number,
    serve_registry,
    square,
    squares,
    until,
)

# --- who leaves


async def test_a_request_that_is_cancelled_gives_its_memory_back(
    settings: Settings, pool: ThreadPoolExecutor
) -> None:
    gate = Gate()
    async with squares(settings, pool, gate.run) as (server, client), client.encoder() as live:
        tasks = [asyncio.create_task(live.embed_images([number(n)], deadline_s=30)) for n in range(20)]
        await until(gate.is_entered.is_set)
        await until(lambda: server.sessions[0].held[0] == 20)
        assert count_taken_bytes(client) > 0
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: server.sessions[0].held[0] == 0)
        await until(lambda: count_taken_bytes(client) == 0)
        gate.open.set()
        assert (await live.embed_images([number(7)], deadline_s=30))[0, 0] == 49


async def test_a_front_end_that_goes_leaves_nothing_behind(
    settings: Settings, pool: ThreadPoolExecutor
) -> None:
    gate = Gate()
    async with squares(settings, pool, gate.run) as (server, client), client.encoder() as live:
        other = EngineClient([client.connected[0]], TOKEN, settings, pool)
        await other.start()
        await until(lambda: len(server.sessions) == 2)
        waiting = []
        async with other.encoder() as theirs:
            waiting = [
                asyncio.create_task(theirs.embed_images([number(n)], deadline_s=30)) for n in range(30)
            ]
            await until(lambda: any(session.held == (30, 1) for session in server.sessions))
            await other.close()
            lost = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(error) for error in lost} == {EngineUnavailableError}
        await until(lambda: len(server.sessions) == 1)
        gate.open.set()
        assert (await live.embed_images([number(9)], deadline_s=30))[0, 0] == 81
        [info] = await client.stats()
        assert info.users == 1
        assert info.batches is not None
        assert info.batches.queue_depth == 0


async def test_the_deadline_travels_and_is_kept_on_both_sides(
    settings: Settings, pool: ThreadPoolExecutor
) -> None:
    gate = Gate()
    async with squares(settings, pool, gate.run) as (server, client), client.encoder() as live:
        held = asyncio.create_task(live.embed_images([number(1)], deadline_s=300))
        await until(gate.is_entered.is_set)
        with pytest.raises(DeadlineExceededError):
            await live.embed_images([number(2), number(3)], deadline_s=0.1)
        with pytest.raises(DeadlineExceededError):
            await live.embed_texts(["4"], deadline_s=0.1)
        await until(lambda: server.sessions[0].held[0] == 1)
        gate.open.set()
        await held
    await until(lambda: not server.sessions)


# --- memory


async def test_a_thousand_requests_of_all_kinds_settle_and_every_piece_of_memory_comes_back(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """With little shared memory, so that much goes through the socket, and some has to wait for either."""
    settings = Settings(
        data_dir=tmp_path, device="cpu", engine_arena_mb=1, engine_inline_mb=2, max_queue=2_000
    )
    chance = random.Random(5)

    def run(group: str, numbers: list[int]) -> list[int]:
        time.sleep(0.0005)
        if len(numbers) > 6 and chance.random() < 0.3:
            raise MemoryError
        return square(group, numbers)

    def refused() -> Rgb:
        raise InvalidImageError

    def picture(n: int) -> Rgb:
        pixels = np.empty((chance.randrange(1, 400), chance.randrange(1, 600), 3), np.uint8)
        pixels[...] = number(n)
        return pixels

    async with squares(settings, pool, run) as (server, client), client.encoder() as live:

        async def ask(n: int) -> str:
            await asyncio.sleep(chance.random() * 0.3)
            deadline_s = 0.02 if n % 11 == 0 else 60
            match n % 5:
                case 0:
                    assert (await live.embed_texts([str(n), "3"], deadline_s=deadline_s))[:, 0].tolist() == [
                        n * n,
                        9,
                    ]
                case 1:
                    rows = await live.embed_images([picture(n), picture(2)], deadline_s=deadline_s)
                    assert rows[:, 0].tolist() == [n * n, 4]
                case 2 if n % 3 == 0:
                    await live.embed_images([picture(n), refused], deadline_s=deadline_s)
                case _:
                    rows = await live.embed_images([lambda: picture(n)], deadline_s=deadline_s)
                    assert rows[0, 0] == n * n
            return "ok"

        tasks = [asyncio.create_task(ask(n)) for n in range(1_000)]
        for task in chance.sample(tasks, 150):
            await asyncio.sleep(0.002)
            task.cancel()
        async with asyncio.timeout(300):
            settled = await asyncio.gather(*tasks, return_exceptions=True)
        names = {result if result == "ok" else type(result).__name__ for result in settled}
        assert names <= {
            "ok",
            "CancelledError",
            "InvalidImageError",
            "DeadlineExceededError",
            "OutOfMemoryError",
        }
        assert sum(result == "ok" for result in settled) > 600
        await until(lambda: server.sessions[0].held[0] == 0)
        await until(lambda: count_taken_bytes(client) == 0)


async def test_an_image_larger_than_all_shared_memory_goes_through_the_socket(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu", engine_arena_mb=1)
    async with squares(settings, pool) as (_, client), client.encoder() as live:
        large = np.empty((1_500, 2_000, 3), np.uint8)
        large[...] = number(300)
        assert (await live.embed_images([large, large], deadline_s=30))[:, 0].tolist() == [90_000, 90_000]
        assert count_taken_bytes(client) == 0


async def test_questions_of_several_images_do_not_wait_for_each_others_memory(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """Each needs more than half of what there is: with a part in each one's hands neither would get the rest."""
    settings = Settings(data_dir=tmp_path, device="cpu", engine_arena_mb=1, engine_inline_mb=1)
    registry = ModelRegistry(settings, FAMILIES, pool=pool)
    large = Image.new("RGB", (600, 500), "red")

    def make() -> Image.Image:
        time.sleep(0.1)  # the others have begun
        return large

    slow: Any = make
    shown = AnswerExample(slow, "what colour is it?", "red")
    prompt = Prompt(slow, "what colour is it?", "vqa", 4, (shown,))
    too_large = Prompt(slow, "what colour is it?", "vqa", 4, (shown, shown, shown))
    async with serve_registry(registry, settings, pool) as (_, client), client.vlm("llava-shapes") as live:
        answers = await asyncio.gather(*[live.answer(prompt, deadline_s=30) for _ in range(4)])
        assert len({answer.text for answer, _ in answers}) == 1
        with pytest.raises(TooLargeError, match="too large together"):
            await live.answer(too_large, deadline_s=300)
        await until(lambda: count_taken_bytes(client) == 0)
    await registry.close()


async def test_makers_write_where_the_engine_reads(settings: Settings, pool: ThreadPoolExecutor) -> None:
    class Maker:
        """Notes whose memory it wrote into."""

        place_of: list[int]

        def __init__(self) -> None:
            self.threads: set[str] = set()
            self.owned: list[bool] = []

        def __call__(self) -> Rgb:
            raise AssertionError("it can be written in place")

        def make_into(self, place: Place) -> Rgb:
            self.threads.add(threading.current_thread().name)
            pixels = place(2, 3)
            self.owned.append(pixels.base is None)
            pixels[...] = number(20)
            return pixels

    maker = Maker()
    async with squares(settings, pool) as (_, client), client.encoder() as live:
        assert (await live.embed_images([maker], deadline_s=30))[0, 0] == 400
        assert count_taken_bytes(client) == 0
    assert maker.owned == [False]
    assert all(name.startswith("ThreadPoolExecutor") for name in maker.threads)


async def test_more_requests_than_the_settings_allow_are_refused(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu", engine_max_requests=5)
    gate = Gate()
    async with squares(settings, pool, gate.run) as (server, client), client.encoder() as live:
        held: Sequence[asyncio.Task[Any]] = [
            asyncio.create_task(live.embed_images([number(n)], deadline_s=30)) for n in range(5)
        ]
        await until(lambda: server.sessions[0].held[0] == 5)
        with pytest.raises(OverloadedError) as refused:
            await live.embed_images([number(6)], deadline_s=30)
        assert refused.value.code == "overloaded"
        gate.open.set()
        await asyncio.gather(*held)
        assert count_taken_bytes(client) == 0


async def test_an_upload_is_decoded_where_the_engine_reads(
    settings: Settings, pool: ThreadPoolExecutor
) -> None:
    """What is decoded in place is what is decoded elsewhere, and what cannot be is copied."""
    noise = np.random.default_rng(4).integers(0, 256, (60, 80, 3), np.uint8)
    limits = ImageLimits()
    for kind in ("JPEG", "PNG"):
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, kind)
        data = buffer.getvalue()
        places: list[Rgb] = []

        def place(height: int, width: int, places: list[Rgb] = places) -> Rgb:
            places.append(np.zeros((height, width, 3), np.uint8))
            return places[-1]

        made = decode_pixels(data, limits, place=place)
        assert [pixels is made for pixels in places] == ([True] if kind == "JPEG" else [])
        np.testing.assert_array_equal(made, decode_pixels(data, limits))
        with pytest.raises(InvalidImageError):
            decode_pixels(data[: len(data) // 2], limits, place=place)
