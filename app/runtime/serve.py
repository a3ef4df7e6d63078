"""`vision serve`: the order in which the parts of a service start and stop."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import ExitStack, suppress

from app.access.keys import SecretError
from app.access.policy import BindRefusedError
from app.embedded import EmbeddedError, EmbeddedServers
from app.embedded.running import Announcement, running_server
from app.errors import VisionError
from app.observability.logs import configure
from app.runtime.databases import open_databases
from app.runtime.listening import ListenError, listening_socket, url_of
from app.runtime.one_process import OneProcess
from app.runtime.open_files import max_connections, raise_open_files
from app.runtime.plan import plan_here
from app.runtime.resources import ServiceResources
from app.runtime.run_folder import run_folder
from app.runtime.saying import err, out, plain, say
from app.runtime.split import Split
from app.runtime.stopping import FORCED, Stop, StoppedError
from app.runtime.warming import Imports, StartSteps
from app.settings import Settings

__all__ = ["running_server", "serve"]


def serve(settings: Settings) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP; the exit code: 0 stopped, 1 could not start.

    The port is taken first, so that a taken one costs nothing; nobody is answered before all is ready. The
    embedded servers stop last. What prevents a start is one sentence, never a traceback.
    """
    code = _serve(settings)
    if Imports.going_on():
        atexit.register(_leave, code)
    return code


def _leave(code: int) -> None:
    """End the process where it would take itself apart: beside a thread that imports, that may abort."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _serve(settings: Settings) -> int:
    settings = settings.replace(data_dir=settings.server.data_dir.expanduser().resolve())
    configure(settings)
    steps = StartSteps()
    open_files = raise_open_files(settings)
    stop = Stop()
    try:
        with ExitStack() as stack:
            stack.enter_context(stop.handlers())
            plan = plan_here(settings)
            address = settings.server.host, settings.server.port
            sock = stack.enter_context(listening_socket(*address, joined=plan.front_ends > 0))
            data_dir = settings.server.data_dir
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = stack.enter_context(run_folder(data_dir)) if plan.front_ends else None
            servers = EmbeddedServers(
                data_dir,
                database_url=settings.server.database_url,
                redis_url=settings.server.redis_url,
                linger_s=settings.server.embedded_linger_s,
            )
            around = ServiceResources(settings, servers, Announcement(data_dir, url_of(sock)))
            stack.callback(around.stop)
            stop.hurry = around.children.kill
            connections = max_connections(settings, open_files)
            # what it imports, or starts, goes on beside the databases
            service = (
                OneProcess(settings, sock, stop, around, connections, steps)
                if folder is None
                else Split(settings, sock, stop, around, connections, plan, folder)
            )
            code = service.run(open_databases(settings, servers, stop, steps))
    except (EmbeddedError, ListenError, BindRefusedError, SecretError, VisionError, OSError) as error:
        say(err, f"[bold red]vision serve:[/] {plain(error)}")
        return 1
    except StoppedError:
        return 0
    except KeyboardInterrupt:
        return FORCED
    if code == 0:
        say(out, "Stopped")
    return code
