"""A service whose only process answers requests and runs the models."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

from app.embedded import Addresses
from app.runtime.around import Around, StartOnce
from app.runtime.job_processes import job_processes
from app.runtime.listening import url_of
from app.runtime.saying import err, say, say_listening, say_not_loaded, say_ready
from app.runtime.stopping import FORCED, Stop
from app.runtime.web_server import WebServer, server_config
from app.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

CHILDREN_S = 30.0
"""Longest that the worker waits for the default model."""
_THREADS_S = 5.0


def run(
    settings: Settings,
    addresses: Addresses,
    sock: socket.socket,
    stop: Stop,
    around: Around,
    connections: int,
) -> int:
    """Answer requests until asked to stop; the exit code."""
    # takes a while, which a refusal to start must not cost
    from app.main import create_app

    stop.check()
    app = create_app(settings, addresses)

    def closing() -> None:
        app.state.services.followers.close()
        around.children.drain()

    server = WebServer(
        server_config(app, settings, connections),
        ready=lambda: _announce(settings, app, url_of(sock), around),
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
        say(err, "[bold red]vision serve:[/] the service did not start; the lines above say why.")
        return 1
    return 0


def _leave_soon(around: Around, code: int) -> None:
    """End the process with `code` soon, at once if that was forced, unless it ends by itself before.

    All is closed by now; a thread that still loads a model, or downloads one, would hold the process for as
    long as that takes.
    """

    def leave() -> None:
        try:
            around.announcement.withdraw()
            around.stop(at_once=code == FORCED)
            if code != FORCED:
                time.sleep(_THREADS_S)
        finally:
            os._exit(code)

    if threading.current_thread() is threading.main_thread():
        threading.Thread(target=leave, name="leave", daemon=True).start()


def _announce(settings: Settings, app: FastAPI, url: str, around: Around) -> None:
    """Say where the service listens at once, and what it serves when the default model is live."""
    around.announce()
    say_listening(settings, url)
    services = app.state.services

    def say_loaded(loaded: asyncio.Task[None]) -> None:
        if loaded.cancelled():
            return
        if (error := loaded.exception()) is not None:
            say_not_loaded(settings, error)
            return
        say_ready(settings, url, (f"{info.name} ({info.runtime})" for info in services.registry.live()))

    services.default_model.loading.add_done_callback(say_loaded)
    # the processor is the model's until it is live
    start_jobs = StartOnce(around.children, *job_processes(settings, services.addresses, services.job_asked))
    services.default_model.loading.add_done_callback(start_jobs)
    asyncio.get_running_loop().call_later(CHILDREN_S, start_jobs)
