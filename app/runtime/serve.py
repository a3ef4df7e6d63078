"""`vision serve`: one process, and the order in which its parts start and stop."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
import uvicorn
from rich.console import Console
from rich.markup import escape

from app import __version__
from app.access.admitting import admit
from app.access.keys import SecretError, load_secret
from app.access.policy import BindRefusedError, needs_key
from app.access.service import KeyRing
from app.embedded import Addresses, EmbeddedError, EmbeddedServers
from app.embedded.running import Announcement, running_server
from app.errors import VisionError
from app.http.head_deadline import HEAD_BYTES, protocol
from app.observability.logs import configure
from app.runtime.children import Children
from app.runtime.listening import ACCEPTS_AT_ONCE, MAX_WAITING_CLIENTS, ListenError, listening_socket, url_of
from app.runtime.open_files import max_connections, raise_open_files
from app.runtime.stopping import Stop, StoppedError
from app.runtime.warming import (
    ANSWERING,
    RUNNING_MODELS,
    Imports,
    StartSteps,
    pause_collection,
    resume_collection,
)
from app.settings import Settings
from app.storage.database import Database, migrate
from app.storage.errors import StoreUnavailableError

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["running_server", "serve"]

FORCED = 130
THREADS_S = 5.0
CHILDREN_S = 30.0
"""Longest that the worker waits for the default model."""
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def serve(settings: Settings) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP; the exit code: 0 stopped, 1 could not start.

    The port is taken first, so that a taken one costs nothing; nobody is answered before all is ready. The
    embedded servers stop last. What prevents a start is one sentence, never a traceback.
    """
    settings = settings.replace(data_dir=settings.server.data_dir.expanduser().resolve())
    configure(settings)
    pause_collection()
    steps = StartSteps()
    imports = Imports(steps, *ANSWERING, *RUNNING_MODELS)
    open_files = raise_open_files(settings)
    stop = Stop()
    try:
        with ExitStack() as stack:
            stack.enter_context(stop.handlers())
            sock = stack.enter_context(listening_socket(settings.server.host, settings.server.port))
            servers = EmbeddedServers(
                settings.server.data_dir,
                database_url=settings.server.database_url,
                redis_url=settings.server.redis_url,
                linger_s=settings.server.embedded_linger_s,
            )
            stack.callback(servers.stop)
            addresses = _databases(settings, servers, stop, steps)
            announcement = Announcement(settings.server.data_dir, url_of(sock))
            around = _Around(Children(settings, addresses), servers, announcement)
            stack.callback(around.stop)
            stop.hurry = around.children.kill
            connections = max_connections(settings, open_files)
            imports.wait()
            code = _run(settings, addresses, sock, stop, around, connections, steps)
    except (EmbeddedError, ListenError, BindRefusedError, SecretError, VisionError, OSError) as error:
        _say(err, f"[bold red]vision serve:[/] {_plain(error)}")
        return 1
    except StoppedError:
        return 0
    except KeyboardInterrupt:
        return FORCED
    if code == 0:
        _say(out, "Stopped")
    return code


def _databases(settings: Settings, servers: EmbeddedServers, stop: Stop, steps: StartSteps) -> Addresses:
    """PostgreSQL and Redis, started or joined and brought up to date."""
    data_dir = settings.server.data_dir
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (settings.server.database_url and settings.server.redis_url):
        _say(out, f"Starting the databases in {_plain(data_dir)}")
    with steps.step("databases"):
        addresses = servers.start()
    stop.check()
    with steps.step("schema"):
        migrate(addresses.database_url)
    _check_redis(addresses.redis_url)
    stop.check()
    with steps.step("keys"):
        key_file = asyncio.run(_admit(settings, addresses.database_url))
    if key_file is not None:
        _say(out, f"The first admin key is in {_plain(key_file)}")
    stop.check()
    return addresses


async def _admit(settings: Settings, database_url: str) -> Path | None:
    """Who may come in, settled before anything listens; the file of a key that was made for it."""
    database = Database(database_url, pool_size=1)
    try:
        return await admit(settings, KeyRing(database, load_secret(settings)))
    finally:
        await database.close()


def _check_redis(url: str) -> None:
    """Raise StoreUnavailableError, in one sentence without the password, unless Redis answers."""
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=10, socket_timeout=10) as client:
            client.ping()
    except (redis.RedisError, ValueError, OSError) as error:
        place = url.rpartition("@")[2].partition("?")[0]
        raise StoreUnavailableError(f"Redis at {place} cannot be reached: {error}") from error


def _run(
    settings: Settings,
    addresses: Addresses,
    sock: socket.socket,
    stop: Stop,
    around: _Around,
    connections: int,
    steps: StartSteps,
) -> int:
    """Answer requests until asked to stop; the exit code."""
    from app.main import create_app

    stop.check()
    app = create_app(settings, addresses)

    def closing() -> None:
        app.state.services.followers.close()
        around.children.drain()

    config = uvicorn.Config(
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
    server = _Server(
        config,
        ready=lambda: _announce(settings, app, url_of(sock), around, steps),
        closing=closing,
        closed=lambda code: _leave_soon(around, code),
    )
    stop.server = server
    try:
        stop.check()
        server.run(sockets=[sock])
    finally:
        around.announcement.withdraw()
    if not server.started:
        _say(err, "[bold red]vision serve:[/] the service did not start; the lines above say why.")
        return 1
    return 0


def _head_bytes(settings: Settings) -> int:
    """Of a request's head before anything answers it; `LimitsMiddleware` holds heads to what the settings allow."""
    return max(HEAD_BYTES, 2 * 1024 * (settings.limits.max_header_kb + settings.limits.max_query_kb))


class _Around:
    """What a service stops after itself, in order, whichever thread comes first."""

    def __init__(self, children: Children, servers: EmbeddedServers, announcement: Announcement) -> None:
        self.children = children
        self.announcement = announcement
        self._servers = servers
        self._stopping = threading.Lock()

    def stop(self, *, at_once: bool = False) -> None:
        """Return when nothing is left; safe to call twice."""
        if at_once:
            self.children.kill()
        with self._stopping:
            self.children.stop()
            self._servers.stop()


def _leave_soon(around: _Around, code: int) -> None:
    """End the process with `code` soon, at once if that was forced, unless it ends by itself before.

    All is closed by now; a thread that still loads a model, or downloads one, would hold the process for as
    long as that takes.
    """

    def leave() -> None:
        try:
            around.announcement.withdraw()
            around.stop(at_once=code == FORCED)
            if code != FORCED:
                time.sleep(THREADS_S)
        finally:
            os._exit(code)

    if threading.current_thread() is threading.main_thread():
        threading.Thread(target=leave, name="leave", daemon=True).start()


def _announce(settings: Settings, app: FastAPI, url: str, around: _Around, steps: StartSteps) -> None:
    """Say where the service listens at once, and what it serves when the default model is live."""
    if settings.server.announce and not around.announcement.announce():
        _say(out, "Another service has announced itself in this data folder: commands go on asking that one")
    _say(out, f"Listening on {url}, loading the model '{_plain(settings.models.encoder)}'")
    services = app.state.services
    services.default_model.add_done_callback(lambda task: _say_ready(settings, services.registry, task, url))
    services.default_model.add_done_callback(lambda _: steps.tell())
    resume_collection()
    # the processor is the model's until it is live
    services.default_model.add_done_callback(lambda _: around.children.start(services.job_asked))
    asyncio.get_running_loop().call_later(CHILDREN_S, around.children.start, services.job_asked)


def _say_ready(settings: Settings, registry: Any, loaded: asyncio.Task[None], url: str) -> None:
    if loaded.cancelled():
        return
    if (error := loaded.exception()) is not None:
        _say(
            err,
            f"[bold red]The model '{_plain(settings.models.encoder)}' could not be loaded:[/] {_plain(error)}",
        )
        return
    key = ' -H "Authorization: Bearer $VISION_API_KEY"' if needs_key(settings) else ""
    models = ", ".join(f"{info.name} ({info.runtime})" for info in registry.live())
    _say(
        out,
        f"""
[bold]llamafarm-vision {__version__}[/] recognises images and learns new ones
  serves    {url}   docs {url}/docs
  models    {_plain(models)}
  data      {_plain(settings.server.data_dir)}
  try       vision oneshot classify --image photo.jpg --labels cat,dog --server {url}
            curl{key} -F image=@photo.jpg -F labels=cat,dog {url}/v1/classify
Ctrl-C stops it""",
    )


class _Server(uvicorn.Server):
    """uvicorn, with our signals instead of its own, which would end the process before the databases."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        ready: Callable[[], None],
        closing: Callable[[], None],
        closed: Callable[[int], None],
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._closing = closing
        self._closed = closed

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """`serve` has handlers of its own."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then say so."""
        await super().startup(sockets)
        for sock in sockets or []:
            sock.listen(MAX_WAITING_CLIENTS)  # asyncio has set it to what it accepts at once
        if self.started and not self.should_exit:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what would go on for as long as a client listens, then wait for the requests under way."""
        self._closing()
        await super().shutdown(sockets)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop, then hand over the exit code."""
        await super().serve(sockets)
        self._closed(FORCED if self.force_exit else 0 if self.started else 1)


def _plain(value: object) -> str:
    """A value's text, with what rich would take for markup escaped."""
    return escape(str(value))


def _say(console: Console, text: str) -> None:
    """Print; a terminal that went away is no reason to stop serving."""
    with suppress(OSError):
        console.print(text)
