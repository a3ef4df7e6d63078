"""What no front end of ours would send an engine: refused, and nobody else notices."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest

from app.inference.engine import messages as wire
from app.inference.engine import server as server_module
from app.inference.engine.arena import Arena
from app.settings import Settings
from tests.engines import (
    TOKEN,
    number,
    squares,
    until,
)


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
        async with asyncio.timeout(60):
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


async def test_who_says_nothing_is_sent_away_and_keeps_nobody_out(
    settings: Settings, pool: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "GREETING_SECONDS", 1.0)
    async with squares(settings, pool) as (server, client):
        silent = [Stranger(client.connected[0], tmp_path) for _ in range(3)]
        for stranger, said in zip(silent, (b"P", hello()[:6], hello()[:-1]), strict=True):
            await stranger.connect(said)
        async with client.encoder() as live:
            assert (await live.embed_images([number(4)], deadline_s=30))[0, 0] == 16
        for stranger in silent:
            assert await stranger.is_closed()
            stranger.close()
        assert len(server.sessions) == 1


async def test_who_cannot_be_told_what_is_known_is_sent_away(
    settings: Settings, pool: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> wire.Catalog:
        raise RuntimeError("nothing can be read")

    async with squares(settings, pool) as (server, client):
        with monkeypatch.context() as patched:
            patched.setattr(server, "_list_catalog", fail)
            stranger = Stranger(client.connected[0], tmp_path)
            await stranger.connect(hello())
            assert await stranger.is_closed()
            stranger.close()
            await until(lambda: len(server.sessions) == 1)
        async with client.encoder() as live:
            assert (await live.embed_images([number(4)], deadline_s=30))[0, 0] == 16


async def test_an_engine_that_can_open_no_more_files_goes_on_with_what_it_knows(
    settings: Settings, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0

    def fail() -> NoReturn:
        nonlocal looked
        looked += 1
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(server_module, "CATALOG_SECONDS", 0.02)
    async with squares(settings, pool) as (server, client):
        known = client.list_models()
        with monkeypatch.context() as patched:
            patched.setattr(server._registry, "list_models", fail)
            await until(lambda: looked > 3)
            async with client.encoder() as live:
                assert (await live.embed_images([number(4)], deadline_s=30))[0, 0] == 16
            assert [info.name for info in client.list_models()] == [info.name for info in known]
        await until(lambda: not server._is_stale)


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
