"""A front end: `python -m app.runtime.front_end`, one of several processes that answer requests of one service.

It loads no model: those run in engines, which it asks through their sockets.
"""

from __future__ import annotations

import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from app.bounded import slots
from app.embedded import Addresses
from app.inference.engine.client import EngineClient
from app.inference.engine.interface import Engine
from app.main import create_app
from app.observability.logs import configure
from app.observability.metrics import Metrics
from app.observability.shared_metrics import SharedMetrics
from app.operations.part import ServicePart
from app.runtime.child_pipes import Reporter, read_launch_config
from app.runtime.listening import join
from app.runtime.names import METRICS, TALLIES
from app.runtime.warming import ANSWERING, Imports, StartSteps, pause_collection, resume_collection
from app.runtime.web_server import WebServer, server_config
from app.settings import Settings
from app.storage.tallies import Tallies, Tally


class FrontEndServer(WebServer):
    """Holds the connections of all front ends together to the service's limit."""

    def __init__(self, config: uvicorn.Config, connections: Tally, **callbacks: Any) -> None:
        """`connections` counts those of every front end."""
        super().__init__(config, **callbacks)
        self._connections = connections
        self._limit = config.limit_concurrency or 1

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: what the others hold is not this one's to give."""
        self._connections.own = len(self.server_state.connections)
        others = self._connections.total - self._connections.own
        self.config.limit_concurrency = max(1, self._limit - others)
        return await super().on_tick(counter)


def main() -> None:
    """Serve until SIGTERM, or until the parent is gone."""
    pause_collection()
    Imports(StartSteps(), *ANSWERING).wait()
    config = read_launch_config()
    addresses = Addresses(config["settings"]["database_url"], config["settings"]["redis_url"])
    settings = Settings(**config["settings"])
    configure(settings)
    folder = Path(config["folder"])
    slots.share(folder)
    tallies = Tallies.open(folder / TALLIES, config["row"])
    reporter = Reporter(config["report"])
    part = ServicePart(
        metrics=Metrics(
            settings.logs.max_metric_models,
            SharedMetrics(folder / METRICS, config["name"]),
            stage_cpu=settings.logs.stage_cpu,
        ),
        tallies=tallies,
        open_engine=partial(_open_engine, config),
        has_models=False,
        cleans=config["cleans"],
    )
    app = create_app(settings, addresses, part)

    def tell_of_jobs() -> None:
        app.state.services.job_asked.wait()
        reporter.send(job_asked=True)

    def ready() -> None:
        resume_collection()
        reporter.send(listening=config["name"])
        threading.Thread(target=tell_of_jobs, name="job-asked", daemon=True).start()

    server = FrontEndServer(
        server_config(app, settings, config["connections"]),
        tallies.get("connections"),
        ready=ready,
        closing=lambda: app.state.services.followers.close(),
    )
    _install_signal_handlers(server)
    shared = socket.socket(
        fileno=config["listen"]
    )  # where clients may wait from before there was a front end
    server.run(sockets=[shared, join(shared)])
    raise SystemExit(0 if server.started else 1)


async def _open_engine(config: dict[str, Any], settings: Settings, pool: ThreadPoolExecutor) -> Engine:
    placement = settings.processes.engine_placement
    client = EngineClient(config["engines"], config["token"], settings, pool, placement=placement)
    await client.start()
    return client


def _install_signal_handlers(server: uvicorn.Server) -> None:
    def leave(*_: object) -> None:
        server.should_exit = True

    signal.signal(signal.SIGTERM, leave)
    for number in (signal.SIGINT, signal.SIGHUP):  # the parent's, who tells by SIGTERM
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
