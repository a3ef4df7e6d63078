"""uvicorn as every process that answers requests runs it, with our signals instead of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from app.http.head_deadline import HEAD_BYTES, protocol
from app.runtime.listening import ACCEPTS_AT_ONCE, MAX_WAITING_CLIENTS
from app.runtime.open_files import OpenFilesWatch
from app.runtime.stopping import FORCED
from app.settings import Settings

_TICKS_BETWEEN_LOOKS = 10
"""uvicorn ticks ten times a second."""


def server_config(app: FastAPI, settings: Settings, connections: int) -> uvicorn.Config:
    """How `app` is served to at most so many connections."""
    return uvicorn.Config(
        app,
        http=protocol(settings.limits.head_timeout_s, _head_bytes(settings)),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=connections,
        backlog=ACCEPTS_AT_ONCE,
        timeout_keep_alive=settings.limits.keep_alive_s,
        timeout_graceful_shutdown=settings.limits.shutdown_grace_s,
    )


def _head_bytes(settings: Settings) -> int:
    """Of a request's head before anything answers it; `LimitsMiddleware` holds heads to what the settings allow."""
    return max(HEAD_BYTES, 2 * 1024 * (settings.limits.max_header_kb + settings.limits.max_query_kb))


class WebServer(uvicorn.Server):
    """Tells when it listens, when it begins to close, and when all is closed."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        ready: Callable[[], None],
        closing: Callable[[], None],
        closed: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`closed` gets the exit code."""
        super().__init__(config)
        self._ready = ready
        self._closing = closing
        self._closed = closed
        self._open_files = OpenFilesWatch()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own would end the process before what else runs in it."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then say so."""
        await super().startup(sockets)
        for sock in sockets or []:
            sock.listen(MAX_WAITING_CLIENTS)  # asyncio has set it to what it accepts at once
        if self.started and not self.should_exit:
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Every tenth of a second."""
        if counter % _TICKS_BETWEEN_LOOKS == 0:
            self._open_files.look()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what would go on for as long as a client listens, then wait for the requests under way."""
        self._closing()
        await super().shutdown(sockets)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until asked to stop, then hand over the exit code."""
        await super().serve(sockets)
        self._closed(FORCED if self.force_exit else 0 if self.started else 1)
