"""Serves a model registry to the front ends of this machine, over a Unix socket in a private folder."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import socket
from contextlib import suppress
from dataclasses import replace
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.inference.engine import messages as wire
from app.inference.engine.arena import map_arena
from app.inference.engine.link import PREFIX, BrokenFrameError
from app.inference.engine.session import Session, SessionLimits
from app.inference.registry import ModelRegistry
from app.settings import Settings

BACKLOG = 128
MAX_GREETINGS = 64
"""Connections at the same time that have not said who they are."""
GREETING_SECONDS = 5.0
CATALOG_SECONDS = 5.0
"""Seconds between two checks of what is known, which files that came to this machine change too."""
MAX_ARENA_BYTES = 1 << 36

_hello = msgspec.msgpack.Decoder(list[wire.Hello])
log = logging.getLogger(__name__)


class EngineServer:
    """The engine's end: one session for each front end. What one of them sends harms no other."""

    def __init__(
        self, registry: ModelRegistry, socket_path: str | os.PathLike[str], token: str, settings: Settings
    ) -> None:
        """`socket_path` lies in a folder that only this user can enter; `token` is what front ends must know."""
        self._registry = registry
        self._path = os.fspath(socket_path)
        self._token = token
        self._limits = SessionLimits(
            settings.engine.engine_max_requests, settings.engine.engine_inline_mb << 20
        )
        self._sessions: set[Session] = set()
        self._greetings: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._catalog: wire.Catalog | None = None
        self._is_stale = False
        self._socket: socket.socket | None = None

    @property
    def sessions(self) -> list[Session]:
        """Those of the front ends that are connected."""
        return list(self._sessions)

    async def serve(self) -> None:
        """Listen, and return; raises OSError where the path cannot be listened at."""
        with suppress(FileNotFoundError):
            os.unlink(self._path)  # of an engine that was killed
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.setblocking(False)
        try:
            mask = os.umask(0o177)
            try:
                listening.bind(self._path)
            finally:
                os.umask(mask)
            listening.listen(BACKLOG)
        except BaseException:
            listening.close()
            raise
        self._socket = listening
        self._unwatch = self._registry.watch(self._spread_news)
        self._tasks = [asyncio.create_task(self._accept(listening)), asyncio.create_task(self._look())]

    async def close(self) -> None:
        """Take no more connections and end those there are; the registry stays open."""
        if self._socket is None:
            return
        self._unwatch()
        tasks = [*self._tasks, *self._greetings]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._socket.close()
        self._socket = None
        with suppress(FileNotFoundError):
            os.unlink(self._path)
        sessions = self.sessions
        for session in sessions:
            session.link.abort()
        await asyncio.sleep(0)  # connections end in the loop's next turn
        for session in sessions:
            await session.settle()

    # --- what is known

    def _spread_news(self) -> None:
        self._is_stale = True
        for session in self._sessions:
            session.tell_news()

    def _list_catalog(self) -> wire.Catalog:
        """The newest one, or the one before where folders cannot be listed at the moment."""
        if self._catalog is None or self._is_stale:
            registry = self._registry
            try:
                self._catalog = wire.Catalog(
                    [replace(info, users=0, batches=None) for info in registry.list_models()],
                    [
                        (place, replace(info, users=0, batches=None))
                        for place, info in registry.list_located()
                    ],
                    registry.family_names(),
                )
                self._is_stale = False
            except OSError as error:  # such as no file descriptor left
                if self._catalog is None:
                    raise
                log.warning("the models could not be listed: %s", error)
        return self._catalog

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(CATALOG_SECONDS)
            if self._sessions and self._catalog is not None:
                before, self._is_stale = self._catalog, True
                if self._list_catalog() != before:
                    self._spread_news()

    # --- who comes in

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:  # such as no file descriptor left
                log.warning("a front end could not be let in: %s", error)
                await asyncio.sleep(0.1)
                continue
            if len(self._greetings) >= MAX_GREETINGS:
                connection.close()
                continue
            connection.setblocking(False)
            greeting = asyncio.create_task(self._greet(connection))
            self._greetings.add(greeting)
            greeting.add_done_callback(partial(self._end_greeting, connection))

    def _end_greeting(self, connection: socket.socket, greeting: asyncio.Task[None]) -> None:
        """Close a connection that was not let in, also where it was cancelled before it began to greet."""
        self._greetings.discard(greeting)
        error = None if greeting.cancelled() else greeting.exception()
        if error is not None:
            log.warning("a connection was refused: %s", error or type(error).__name__)
        if error is not None or greeting.cancelled():
            connection.close()

    async def _greet(self, connection: socket.socket) -> None:
        """Let a front end in that knows the token; raises for every other connection, which is then closed."""
        async with asyncio.timeout(GREETING_SECONDS):
            hello, arena = await self._read_hello(connection)
        session = Session(
            self._registry, arena, self._limits, catalog=self._list_catalog, on_end=self._sessions.discard
        )
        await asyncio.get_running_loop().connect_accepted_socket(lambda: session.link, connection)
        self._sessions.add(session)
        try:
            session.link.send(wire.Welcome(wire.PROTOCOL_VERSION, f"process {os.getpid()}"))
            session.send_news()
        except BaseException:
            session.link.abort()
            raise
        log.debug("front end %s is connected", hello.sender)

    async def _read_hello(self, connection: socket.socket) -> tuple[wire.Hello, NDArray[np.uint8]]:
        data, fds = b"", []
        try:
            while len(data) < (length := _greeting_bytes(data)):
                if length > wire.MAX_HELLO_BYTES:
                    raise BrokenFrameError("its greeting is too long")
                await _readable(connection)
                more, received, _, _ = socket.recv_fds(connection, wire.MAX_HELLO_BYTES, 1)
                fds += received
                if not more:
                    raise BrokenFrameError("it left without a word")
                data += more
            hello = self._check(data)
            if len(fds) != 1:
                raise BrokenFrameError("it shares no memory")
            return hello, map_arena(fds[0], hello.arena_bytes)
        finally:
            for fd in fds:
                os.close(fd)

    def _check(self, data: bytes) -> wire.Hello:
        header, body = PREFIX.unpack_from(data)
        if len(data) != PREFIX.size + header or body:
            raise BrokenFrameError("it says more than a greeting")
        try:
            (hello,) = _hello.decode(data[PREFIX.size :])
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise BrokenFrameError("its greeting cannot be read") from None
        if not hmac.compare_digest(hello.token.encode(), self._token.encode()):
            raise BrokenFrameError("it does not know the token")
        if hello.version != wire.PROTOCOL_VERSION:
            raise BrokenFrameError(f"it speaks version {hello.version}, not {wire.PROTOCOL_VERSION}")
        if not 0 < hello.arena_bytes <= MAX_ARENA_BYTES:
            raise BrokenFrameError("its shared memory is too large")
        return hello


def _greeting_bytes(data: bytes) -> int:
    """How long the greeting is that begins like this, as far as that is known."""
    return PREFIX.size + (int(PREFIX.unpack_from(data)[0]) if len(data) >= PREFIX.size else 0)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(connection, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(connection)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
