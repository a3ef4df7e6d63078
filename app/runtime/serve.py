"""`vision serve`: the order in which the parts of a service start and stop."""

from __future__ import annotations

from contextlib import ExitStack

from app.access.keys import SecretError
from app.access.policy import BindRefusedError
from app.embedded import EmbeddedError, EmbeddedServers
from app.embedded.running import Announcement, running_server
from app.errors import VisionError
from app.observability.logs import configure
from app.runtime.around import Around
from app.runtime.databases import open_databases
from app.runtime.listening import ListenError, listening_socket, url_of
from app.runtime.open_files import max_connections, raise_open_files
from app.runtime.plan import plan_here
from app.runtime.saying import err, out, plain, say
from app.runtime.stopping import FORCED, Stop, StoppedError
from app.settings import Settings

__all__ = ["running_server", "serve"]


def serve(settings: Settings) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP; the exit code: 0 stopped, 1 could not start.

    The port is taken first, so that a taken one costs nothing; nobody is answered before all is ready. The
    embedded servers stop last. What prevents a start is one sentence, never a traceback.
    """
    settings = settings.replace(data_dir=settings.server.data_dir.expanduser().resolve())
    configure(settings)
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
            addresses = open_databases(settings, servers, stop)
            announcement = Announcement(settings.server.data_dir, url_of(sock))
            around = Around(settings, servers, announcement)
            stack.callback(around.stop)
            stop.hurry = around.children.kill
            connections = max_connections(settings, open_files)
            plan = plan_here(settings)
            if plan.front_ends:
                from app.runtime.split import Split

                code = Split(settings, addresses, sock, stop, around, connections, plan).run()
            else:
                from app.runtime.one_process import run

                code = run(settings, addresses, sock, stop, around, connections)
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
