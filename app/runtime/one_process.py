"""A service whose only process answers requests and runs the models."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

from app.embedded import Addresses
from app.runtime.job_processes import MAX_WAIT_SECONDS, job_processes
from app.runtime.listening import url_of
from app.runtime.resources import ServiceResources, StartOnce
from app.runtime.saying import err, say, say_listening, say_not_loaded, say_ready
from app.runtime.stopping import FORCED, Stop
from app.runtime.warming import (
    ANSWERING,
    RUNNING_MODELS,
    Imports,
    StartSteps,
    pause_collection,
    resume_collection,
)
from app.runtime.web_server import WebServer, server_config
from app.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

_THREADS_SECONDS = 5.0


class OneProcess:
    """A service before it runs: what it will need is imported while the databases start."""

    def __init__(
        self,
        settings: Settings,
        sock: socket.socket,
        stop: Stop,
        around: ServiceResources,
        connections: int,
        steps: StartSteps,
    ) -> None:
        pause_collection()
        self._settings = settings
        self._sock = sock
        self._stop = stop
        self._around = around
        self._connections = connections
        self._steps = steps
        self._imports = Imports(steps, *ANSWERING, *RUNNING_MODELS)

    def run(self, addresses: Addresses) -> int:
        """Answer requests until asked to stop; the exit code."""
        self._imports.wait()
        from app.main import create_app

        self._stop.check()
        app = create_app(self._settings, addresses)

        def closing() -> None:
            app.state.services.followers.close()
            self._around.children.drain()

        server = WebServer(
            server_config(app, self._settings, self._connections),
            ready=lambda: self._announce(app),
            closing=closing,
            closed=lambda code: _leave_soon(self._around, code),
        )
        self._stop.server = server
        try:
            self._stop.check()
            server.run(sockets=[self._sock])
        finally:
            self._around.announcement.withdraw()
        if not server.started:
            say(err, "[bold red]vision serve:[/] the service did not start; the lines above say why.")
            return 1
        return 0

    def _announce(self, app: FastAPI) -> None:
        """Say where the service listens at once, and what it serves when the default model is live."""
        settings, url, services = self._settings, url_of(self._sock), app.state.services
        self._around.announce()
        say_listening(settings, url)

        def say_failed(loading: asyncio.Task[None]) -> None:
            if not loading.cancelled() and (error := loading.exception()) is not None:
                say_not_loaded(settings, error)

        def say_live(live: asyncio.Task[None]) -> None:
            if not live.cancelled() and live.exception() is None:
                models = (f"{info.name} ({info.runtime})" for info in services.registry.live())
                say_ready(settings, url, models)

        loading = services.default_model.loading
        loading.add_done_callback(say_failed)
        services.default_model.live.add_done_callback(say_live)
        loading.add_done_callback(lambda _: self._steps.tell())
        resume_collection()
        # the processor is the model's until it is live
        jobs = job_processes(settings, services.addresses, services.job_asked)
        start_jobs = StartOnce(self._around.children, *jobs)
        loading.add_done_callback(start_jobs)
        asyncio.get_running_loop().call_later(MAX_WAIT_SECONDS, start_jobs)


def _leave_soon(around: ServiceResources, code: int) -> None:
    """End the process with `code` soon, at once if that was forced, unless it ends by itself before.

    All is closed by now; a thread that still loads a model, or downloads one, would hold the process for as
    long as that takes.
    """

    def leave() -> None:
        try:
            around.announcement.withdraw()
            around.stop(at_once=code == FORCED)
            if code != FORCED:
                time.sleep(_THREADS_SECONDS)
        finally:
            os._exit(code)

    if threading.current_thread() is threading.main_thread():
        threading.Thread(target=leave, name="leave", daemon=True).start()
