"""An engine behind a socket: what is only there to go wrong where two processes talk."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from app.errors import OverloadedError, VisionError, list_errors
from app.families import FAMILIES
from app.inference.engine import messages as wire
from app.inference.engine.arena import Arena
from app.inference.engine.client import EngineClient
from app.inference.engine.placement import Placement
from app.inference.engine.server import EngineServer
from app.inference.errors import (
    DeadlineExceededError,
    EngineUnavailableError,
    ModelNotFoundError,
    ModelReplacedError,
    ModelTaskError,
)
from app.inference.prompts import AnswerExample, Prompt
from app.inference.protocols import Place, Rgb
from app.inference.registry import ModelRegistry
from app.media.errors import InvalidImageError
from app.media.images import ImageLimits, decode_pixels
from app.settings import Settings
from tests.engines import TOKEN, Squares, SquaresFamily, served, socket_folder, taken_bytes, until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, device="cpu", engine_wait_s=0.2, max_queue=2_000)


def squared(group: str, numbers: list[int]) -> list[int]:
    return [number * number for number in numbers]


def number(n: int) -> Rgb:
    """The image that means a number to `Squares`."""
    return np.array([[[n >> 8, n & 255, 0]]], np.uint8)


@asynccontextmanager
async def squares(
    settings: Settings, pool: ThreadPoolExecutor, run: Callable[[str, list[int]], list[int]] = squared
) -> AsyncIterator[tuple[EngineServer, EngineClient]]:
    encoder = Squares(run)
    with ThreadPoolExecutor(2) as engines_own:
        registry = ModelRegistry(settings, SquaresFamily(encoder), pool=engines_own)
        async with served(registry, settings, pool) as (server, client):
            async with client.encoder():
                encoder.is_warm = True
            yield server, client
        await registry.close()


class Gate:
    """Squares numbers when it is open."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.is_entered = threading.Event()

    def run(self, group: str, numbers: list[int]) -> list[int]:
        self.is_entered.set()
        assert self.open.wait(30)
        return squared(group, numbers)


# --- who leaves


async def test_a_request_that_is_cancelled_gives_its_memory_back(
    settings: Settings, pool: ThreadPoolExecutor
) -> None:
    gate = Gate()
    async with squares(settings, pool, gate.run) as (server, client), client.encoder() as live:
        tasks = [asyncio.create_task(live.embed_images([number(n)], deadline_s=30)) for n in range(20)]
        await until(gate.is_entered.is_set)
        await until(lambda: server.sessions[0].held[0] == 20)
        assert taken_bytes(client) > 0
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: server.sessions[0].held[0] == 0)
        await until(lambda: taken_bytes(client) == 0)
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
        held = asyncio.create_task(live.embed_images([number(1)], deadline_s=60))
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
        return squared(group, numbers)

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
        async with asyncio.timeout(60):
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
        await until(lambda: taken_bytes(client) == 0)


async def test_an_image_larger_than_all_shared_memory_goes_through_the_socket(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu", engine_arena_mb=1)
    async with squares(settings, pool) as (_, client), client.encoder() as live:
        large = np.empty((1_500, 2_000, 3), np.uint8)
        large[...] = number(300)
        assert (await live.embed_images([large, large], deadline_s=30))[:, 0].tolist() == [90_000, 90_000]
        assert taken_bytes(client) == 0


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
        assert taken_bytes(client) == 0
    assert maker.owned == [False]
    assert all(name.startswith("ThreadPoolExecutor") for name in maker.threads)


# --- what travels


async def test_facts_and_lists_are_those_of_the_registry(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu", encoder="clip-tiny", optimisation="none")
    registry = ModelRegistry(settings, FAMILIES, pool=pool)
    async with served(registry, settings, pool) as (_, client):
        assert client.known() == registry.known()
        assert client.live() == []
        with pytest.raises(ModelNotFoundError, match="There is no encoder 'nothing'"):
            async with client.encoder("nothing"):
                pass
        async with client.encoder() as live, registry.encoder() as own:
            for fact in (
                *("name", "family", "key", "dim", "input_size", "temperature"),
                *("fingerprint", "runtime", "reads_texts", "reads_jpeg", "min_decoded_side"),
            ):
                assert getattr(live, fact) == getattr(own, fact), fact
            picture = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
            for images in ([picture], [picture, Image.fromarray(picture[:, :, ::-1].copy())]):
                ours = await live.embed_images(images, deadline_s=30)
                theirs = await own.embed_images(images, deadline_s=30)
                np.testing.assert_allclose(ours, theirs, atol=1e-6)
            np.testing.assert_array_equal(
                await live.embed_questions(["a cat"], deadline_s=30),
                await own.embed_questions(["a cat"], deadline_s=30),
            )
        [info], [(location, own_info)] = client.live(), registry.located()
        assert (info.name, info.dim, info.memory_bytes) == (
            own_info.name,
            own_info.dim,
            own_info.memory_bytes,
        )
        assert client.live_at(location) == info
        assert client.live_at("elsewhere") is None
        for name in ("default", "clip", "clip-tiny", "lite", "anything else"):
            assert client.taken(name) == registry.taken(name), name
        await client.forget(location)
        await until(lambda: client.live() == [])
        assert registry.live() == []
    await registry.close()


async def test_an_encoder_that_reads_images_only_says_so(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu", encoder="dinov2-tiny", optimisation="none")
    registry = ModelRegistry(settings, FAMILIES, pool=pool)
    async with (
        served(registry, settings, pool) as (_, client),
        client.encoder() as live,
        registry.encoder() as own,
    ):
        told = []
        for model in (live, own):
            with pytest.raises(ModelTaskError) as refused:
                await model.embed_texts(["a cat"], deadline_s=5)
            told.append(refused.value.detail)
        assert told[0] == told[1]
        assert (await live.embed_texts([], deadline_s=5)).shape == (0, own.dim)
        questions = await live.embed_questions(["what?", "why?"], deadline_s=5)
        np.testing.assert_array_equal(questions, await own.embed_questions(["what?", "why?"], deadline_s=5))
    await registry.close()


async def test_answers_stream_through_the_socket_as_they_come(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu")
    registry = ModelRegistry(settings, FAMILIES, pool=pool)
    red = Image.new("RGB", (64, 64), "red")
    blue = Image.new("RGB", (64, 64), "blue")
    prompts = [
        Prompt(red, "what is in the image?", "vqa", 16),
        Prompt(blue, "what colour is it?", "vqa", 16, (AnswerExample(red, "what colour is it?", "red"),)),
        Prompt(blue, "what colour is it?", "vqa", 16, (AnswerExample(None, "which colour?", "red"),)),
    ]
    async with served(registry, settings, pool) as (server, client):
        async with client.vlm("llava-shapes") as live, registry.vlm("llava-shapes") as own:
            assert (live.tasks, live.several_images) == (own.tasks, own.several_images)
            for prompt in prompts:
                pieces: list[str] = []
                answer, used = await live.answer(prompt, deadline_s=60, on_text=pieces.append)
                assert (answer, used) == await own.answer(prompt, deadline_s=60)
                assert "".join(pieces) == answer.text
            long = Prompt(red, "what is in the image?", "vqa", 512)
            asking = asyncio.create_task(live.answer(long, deadline_s=60, on_text=lambda _: asking.cancel()))
            await asyncio.gather(asking, return_exceptions=True)
            await until(lambda: server.sessions[0].held[0] == 0)
            with pytest.raises(DeadlineExceededError):
                await live.answer(prompts[0], deadline_s=0)
        await until(lambda: taken_bytes(client) == 0)
        with pytest.raises(ModelNotFoundError):
            async with client.vlm("nothing"):
                pass
    await registry.close()


@pytest.mark.parametrize("place", list_errors())
def test_every_failure_reads_the_same_on_the_other_side(place: str) -> None:
    kind = list_errors()[place]
    for error in (kind(), kind("A sentence.", retry_after_s=7)):
        there = wire.raised(msgspec.msgpack.decode(wire.encode(wire.fail(error)), type=wire.Failure))
        assert type(there) is kind
        assert (there.detail, there.retry_after_s, str(there)) == (
            error.detail,
            error.retry_after_s,
            str(error),
        )
        assert (there.status, there.code, there.title) == (error.status, error.code, error.title)


def test_a_failure_of_a_class_that_only_the_engine_has_tells_clients_the_same() -> None:
    class TeapotError(OverloadedError):
        status, code, title = 418, "teapot", "Teapot"

    there = wire.raised(wire.fail(TeapotError("Short and stout.", retry_after_s=3)))
    assert isinstance(there, OverloadedError)
    assert (there.status, there.code, there.title) == (418, "teapot", "Teapot")
    assert (there.detail, there.retry_after_s) == ("Short and stout.", 3)
    hidden = wire.raised(wire.fail(RuntimeError("a secret path")))
    assert (type(hidden), hidden.status, hidden.code) == (VisionError, 500, "internal_error")
    assert "secret" not in hidden.detail


async def test_vectors_of_a_model_that_was_replaced_are_not_used(
    settings: Settings, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """Its files changed and it was loaded again, while a request had the facts of the one before."""
    encoder = Squares(squared)
    registry = ModelRegistry(settings, SquaresFamily(encoder), pool=pool)
    async with served(registry, settings, pool) as (server, client):
        async with client.encoder() as live:
            encoder.is_warm = True
            assert live.key.endswith("@" + "0" * 16)
            # as after an engine's restart: the loan is a new one
            server.sessions[0].link.abort()
            await until(lambda: not server.sessions)
            encoder.fingerprint = "1" * 16
            await registry.forget("")
            await until(lambda: not registry.live() and bool(client.connected))
            with pytest.raises(ModelReplacedError):
                await live.embed_images([number(2)], deadline_s=30)
            with pytest.raises(ModelReplacedError):
                await live.embed_texts(["2"], deadline_s=30)
        async with client.encoder() as live:
            assert live.key.endswith("@" + "1" * 16)
            assert (await live.embed_images([number(2)], deadline_s=30))[0, 0] == 4
    await registry.close()


# --- several engines


@asynccontextmanager
async def two_engines(
    settings: Settings, pool: ThreadPoolExecutor, placement: Placement
) -> AsyncIterator[tuple[EngineClient, list[tuple[EngineServer, ModelRegistry]]]]:
    engines = []
    with socket_folder() as folder:
        for index in range(2):
            encoder = Squares(squared)
            registry = ModelRegistry(settings, SquaresFamily(encoder), pool=pool)
            encoder.run = lambda group, numbers: (time.sleep(0.002), squared(group, numbers))[1]
            server = EngineServer(registry, folder / f"{index}.sock", TOKEN, settings)
            await server.serve()
            engines.append((server, registry))
        client = EngineClient(
            [str(folder / f"{index}.sock") for index in range(2)], TOKEN, settings, pool, placement=placement
        )
        await client.start()
        await until(lambda: len(client.connected) == 2)
        try:
            yield client, engines
        finally:
            await client.close()
            for server, registry in engines:
                await server.close()
                await registry.close()


def counted(registry: ModelRegistry) -> int:
    return sum(info.batches.items for info in registry.live() if info.batches)


async def test_replicas_share_the_work_and_one_goes_on_without_the_other(
    settings: Settings, pool: ThreadPoolExecutor
) -> None:
    async with two_engines(settings, pool, "replicate") as (client, engines), client.encoder() as live:
        for _ in range(10):  # also those that come one by one
            await live.embed_images([number(1)], deadline_s=30)
        assert [counted(registry) for _, registry in engines] == [5, 5]
        await live.embed_images([number(1)] * 100, deadline_s=30)
        assert all(30 <= counted(registry) <= 80 for _, registry in engines)
        [info] = await client.stats()
        assert info.batches is not None
        assert info.batches.items == 110
        assert info.memory_bytes == 2
        await engines[0][0].close()
        await until(lambda: len(client.connected) == 1)
        before = counted(engines[1][1])
        await live.embed_images([number(1)] * 10, deadline_s=30)
        assert counted(engines[1][1]) == before + 10
        await client.forget("")


async def test_spread_keeps_each_model_on_one_engine(settings: Settings, pool: ThreadPoolExecutor) -> None:
    names = [f"org/model-{index}" for index in range(4)]
    async with two_engines(settings.replace(model_memory_mb=100), pool, "spread") as (client, engines):
        for name in names * 2:
            async with client.encoder(name) as live:
                await live.embed_images([number(1)] * 3, deadline_s=30)
        homes = [{info.name for info in registry.live()} for _, registry in engines]
        assert not homes[0] & homes[1]
        assert len(homes[0] | homes[1]) == len(names)
        assert min(len(home) for home in homes) >= 1
        assert {info.name for info in client.live()} == homes[0] | homes[1]
        await engines[0][0].close()
        await until(lambda: len(client.connected) == 1)
        stranded = next(iter(homes[0]))
        with pytest.raises(EngineUnavailableError):  # another engine would load it for a moment only
            async with client.encoder(f"org/{stranded}"):
                pass
        async with client.encoder(f"org/{next(iter(homes[1]))}") as live:
            await live.embed_images([number(1)], deadline_s=30)


# --- processes that end


ENGINE = """
import asyncio, sys, time
from concurrent.futures import ThreadPoolExecutor
from app.inference.engine.server import EngineServer
from app.inference.registry import ModelRegistry
from app.settings import Settings
from tests.engines import TOKEN, Squares, SquaresFamily

def run(group, numbers):
    if 13 in numbers:
        time.sleep(60)
    return [number * number for number in numbers]

async def main():
    encoder = Squares(run)
    settings = Settings(data_dir=sys.argv[2], device="cpu")
    with ThreadPoolExecutor(2) as pool:
        registry = ModelRegistry(settings, SquaresFamily(encoder), pool=pool)
        async with registry.encoder():
            encoder.is_warm = True
        await EngineServer(registry, sys.argv[1], TOKEN, settings).serve()
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_killed_engine_fails_its_requests_at_once_and_another_serves_the_next(
    settings: Settings, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    with socket_folder() as folder:
        path = str(folder / "engine.sock")

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen([sys.executable, "-c", ENGINE, path, str(tmp_path)], cwd=ROOT)

        client = EngineClient([path], TOKEN, settings, pool)
        await client.start()
        with pytest.raises(EngineUnavailableError) as refused:  # after a wait that is bounded
            async with client.encoder():
                pass
        assert refused.value.status == 503
        assert refused.value.retry_after_s is not None
        with pytest.raises(EngineUnavailableError):
            client.known()
        engine = start()
        try:
            await until(lambda: bool(client.connected), 60)
            async with client.encoder() as live:
                assert (await live.embed_images([number(5)], deadline_s=30))[0, 0] == 25
                stuck = [
                    asyncio.create_task(live.embed_images([number(n)], deadline_s=60)) for n in (13, 14, 15)
                ]
                stuck.append(asyncio.create_task(live.embed_texts(["13"], deadline_s=60)))
                await until(lambda: len(client._engines[0].channel._requests) == 4)
                os.kill(engine.pid, signal.SIGKILL)
                async with asyncio.timeout(20):
                    lost = await asyncio.gather(*stuck, return_exceptions=True)
                assert {type(error) for error in lost} == {EngineUnavailableError}
                assert client.known()  # what is known does not depend on its being there
                engine.wait()
                engine = start()
                await until(lambda: bool(client.connected), 60)
                # the same handle goes on, since the model is the same
                assert (await live.embed_images([number(6)], deadline_s=30))[0, 0] == 36
                assert taken_bytes(client) == 0
        finally:
            await client.close()
            engine.kill()
            engine.wait()


def test_a_front_end_on_uvloop_is_served_too(settings: Settings) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        with ThreadPoolExecutor(2) as pool:
            async with squares(settings, pool) as (_, client), client.encoder() as live:
                large = np.empty((900, 900, 3), np.uint8)
                large[...] = number(12)
                rows = await live.embed_images([number(3), large] * 20, deadline_s=30)
                assert rows[:, 0].tolist() == [9, 144] * 20

    asyncio.run(main(), loop_factory=uvloop.new_event_loop) if sys.version_info >= (3, 12) else uvloop.run(
        main()
    )


def test_a_front_end_loads_no_library_of_models() -> None:
    code = (
        "import sys, app.inference.engine.interface, app.inference.engine.client\n"
        "print([name for name in ('torch', 'transformers', 'onnxruntime', 'scipy') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


# --- what no front end of ours would send


def frame(*sent: Any, body: bytes = b"") -> bytes:
    header = wire.encode(list(sent))
    return struct.pack("<II", len(header), len(body)) + header + body


def hello(token: str = TOKEN, version: int = wire.PROTOCOL_VERSION, arena_bytes: int = 1 << 20) -> bytes:
    return frame(wire.Hello(version, token, arena_bytes, "a test"))


class Stranger:
    """A connection that says what it likes."""

    def __init__(self, path: str, tmp_path: Path) -> None:
        self._path = path
        self._arena = Arena(1 << 20, 0, tmp_path)

    async def connect(self, greeting: bytes, fds: int = 1) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.setblocking(False)
        await asyncio.get_running_loop().sock_connect(self._socket, self._path)
        socket.send_fds(self._socket, [greeting], [self._arena.fd] * fds)

    async def send(self, data: bytes) -> None:
        with suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def read(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._socket, 1 << 20)

    async def is_closed(self) -> bool:
        """Whether the other side ends the connection."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            try:
                while await loop.sock_recv(self._socket, 1 << 20):
                    pass
            except OSError:
                pass
        return True

    def close(self) -> None:
        self._socket.close()


GREETINGS: dict[str, tuple[bytes, int]] = {
    "another token": (hello("guess"), 1),
    "no token": (hello(""), 1),
    "another version": (hello(version=99), 1),
    "no memory": (hello(), 0),
    "more memory than there is": (hello(arena_bytes=2 << 20), 1),
    "no size": (hello(arena_bytes=0), 1),
    "a negative size": (hello(arena_bytes=-5), 1),
    "another message": (frame(wire.Borrow(1, "encoder", None)), 1),
    "two messages": (frame(wire.Hello(1, TOKEN, 1, ""), wire.Hello(1, TOKEN, 1, "")), 1),
    "more than a greeting": (hello() + b"x", 1),
    "a greeting without end": (struct.pack("<II", 1 << 31, 0) + b"y" * 8_000, 1),
    "no message": (b"GET / HTTP/1.1\r\n\r\n", 1),
}


async def test_who_does_not_greet_as_our_processes_do_is_not_let_in(
    settings: Settings, pool: ThreadPoolExecutor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="app")  # whatever a service in this process has set
    async with squares(settings, pool) as (server, client), client.encoder() as live:
        path = client.connected[0]
        assert os.stat(path).st_mode & 0o777 == 0o600
        for name, (greeting, fds) in GREETINGS.items():
            stranger = Stranger(path, tmp_path)
            await stranger.connect(greeting, fds)
            assert await stranger.is_closed(), name
            stranger.close()
            assert len(server.sessions) == 1, name
            assert (await live.embed_images([number(4)], deadline_s=30))[0, 0] == 16
        assert TOKEN not in caplog.text


def place(offset: int, height: int = 2, width: int = 2) -> wire.Picture:
    return wire.Picture(height, width, offset)


BROKEN: dict[str, bytes] = {
    "a header without end": struct.pack("<II", 0xFFFFFFFF, 0),
    "a body without end": struct.pack("<II", 8, 0xFFFFFFFF),
    "an empty header": struct.pack("<II", 0, 0),
    "no msgpack": struct.pack("<II", 4, 0) + b"\xc1\xc1\xc1\xc1",
    "a deep nest": struct.pack("<II", 5_000, 0) + b"\x91" * 5_000,
    "a list that is longer than it is": struct.pack("<II", 5, 0) + b"\xdd\xff\xff\xff\xff",
    "an unknown message": frame([77, 1, 2]),
    "a message that lacks a part": frame([wire.Borrow.__struct_config__.tag, 1]),
    "a message of another type": frame([wire.Cancel.__struct_config__.tag, "one"]),
    "a greeting again": hello(),
    "a reply": frame(wire.Done(1)),
    "no loan of that number": frame(wire.EmbedTexts(9, 77, 1.0, ["1"], False)),
    "a loan of another kind": frame(wire.Ask(9, 1, 1.0, "?", "vqa", 1, 0.0, 1.0, [], [], False)),
    "a loan twice": frame(wire.Borrow(1, "encoder", None)),
    "a return of nothing": frame(wire.Return(2)),
    "a request twice": frame(
        wire.EmbedTexts(9, 1, 1.0, ["1"], False), wire.EmbedTexts(9, 1, 1.0, ["1"], False)
    ),
    "a picture beyond the memory": frame(wire.EmbedImage(9, 1, 1.0, place((1 << 20) - 11))),
    "a picture before the memory": frame(wire.EmbedImage(9, 1, 1.0, place(-12))),
    "an endless picture": frame(wire.EmbedImage(9, 1, 1.0, place(0, 1 << 40, 1 << 40))),
    "a picture without pixels": frame(wire.EmbedImage(9, 1, 1.0, place(0, 0, 5))),
    "a picture that is not there": frame(wire.EmbedImage(9, 1, 1.0, place(wire.INLINE)), body=b"123"),
    "a deadline at no moment": frame(wire.EmbedTexts(9, 1, float("nan"), ["1"], False)),
    "a deadline that never comes": frame(wire.EmbedTexts(9, 1, float("inf"), ["1"], False)),
    "no file": frame(wire.EmbedImage(9, 1, 1.0, wire.Picture(2, 2, wire.INLINE, -3, 1)), body=b"123"),
    "a file in the shared memory": frame(wire.EmbedImage(9, 1, 1.0, wire.Picture(2, 2, 0, 3, 1))),
    "a file turned an unknown way": frame(
        wire.EmbedImage(9, 1, 1.0, wire.Picture(2, 2, wire.INLINE, 3, 9)), body=b"123"
    ),
    "pixels of no picture": frame(wire.Cancel(5), body=b"123"),
}


async def test_broken_frames_end_their_connection_and_harm_nobody_else(
    settings: Settings, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    async with squares(settings, pool) as (server, client), client.encoder() as live:
        for name, data in BROKEN.items():
            stranger = Stranger(client.connected[0], tmp_path)
            await stranger.connect(hello())
            await stranger.read()
            await stranger.send(frame(wire.Borrow(1, "encoder", None)))
            await stranger.send(data)
            assert await stranger.is_closed(), name
            stranger.close()
            await until(lambda: len(server.sessions) == 1)
            assert (await live.embed_images([number(4)], deadline_s=30))[0, 0] == 16
        [info] = await client.stats()
        assert info.users == 1


async def test_random_bytes_after_the_greeting_harm_nobody(
    settings: Settings, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    chance = random.Random(11)
    good = frame(
        wire.Borrow(1, "encoder", None),
        wire.EmbedTexts(2, 1, 5.0, ["7", "8"], False),
        wire.EmbedImage(3, 1, 5.0, place(64)),
        wire.EmbedImage(4, 1, 5.0, place(wire.INLINE)),
        wire.Cancel(3),
        wire.AskStats(5),
        wire.Return(1),
        body=bytes(12),
    )
    async with squares(settings, pool) as (server, client), client.encoder() as live:
        for _ in range(150):
            data = bytearray(good)
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(8, len(data))] = chance.randrange(256)
            stranger = Stranger(client.connected[0], tmp_path)
            await stranger.connect(hello())
            await stranger.read()
            await stranger.send(bytes(data))
            stranger.close()
        await until(lambda: len(server.sessions) == 1)
        assert (await live.embed_images([number(4)], deadline_s=30))[0, 0] == 16
        [info] = await client.stats()
        assert info.users == 1
        assert info.batches is not None
        assert info.batches.queue_depth == 0


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
        assert taken_bytes(client) == 0


async def test_a_long_list_of_texts_goes_in_several_messages_in_order(
    settings: Settings, pool: ThreadPoolExecutor
) -> None:
    texts = [str(n % 2_000) for n in range(3 * wire.MAX_TEXTS)]
    async with squares(settings, pool) as (_, client), client.encoder() as live:
        rows = await live.embed_texts(texts, deadline_s=60)
        assert rows[:, 0].tolist() == [int(text) ** 2 for text in texts]
        long = "x" * (wire.MAX_TEXTS_BYTES // 4)
        assert (await live.embed_texts([long, "5", long * 2, "6"], deadline_s=60))[:, 0].tolist() == [
            0,
            25,
            0,
            36,
        ]


async def test_a_listener_that_fails_ends_no_connection(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu")
    registry = ModelRegistry(settings, FAMILIES, pool=pool)
    said: list[str] = []

    def listen(text: str) -> None:
        said.append(text)
        raise RuntimeError("a listener's own problem")

    errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
    try:
        async with served(registry, settings, pool) as (server, client), client.vlm("llava-shapes") as live:
            prompt = Prompt(Image.new("RGB", (64, 64), "red"), "what colour is it?", "vqa", 16)
            answer, _ = await live.answer(prompt, deadline_s=60, on_text=listen)
            assert "".join(said) == answer.text
            assert len(server.sessions) == 1
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
        await registry.close()
    assert {str(error) for error in errors} == {"a listener's own problem"}


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
