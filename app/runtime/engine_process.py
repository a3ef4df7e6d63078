"""An engine: `python -m app.runtime.engine_process`, the process that runs models on one device for the front ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.families import FAMILIES
from app.inference.default_model import load_default, wait_for_default
from app.inference.device import parse, threads
from app.inference.engine.placement import choose_engine
from app.inference.engine.server import EngineServer
from app.inference.errors import ModelUnavailableError
from app.inference.registry import ModelRegistry
from app.observability.logs import configure
from app.observability.metrics import Metrics
from app.observability.observer import ModelMetrics
from app.observability.shared_metrics import SharedMetrics
from app.runtime.child_pipes import Reporter, read_launch_config
from app.runtime.names import METRICS, TALLIES
from app.runtime.saying import err, plain, say
from app.runtime.warming import RUNNING_MODELS, Imports, StartSteps, pause_collection, resume_collection
from app.settings import Settings
from app.storage.tallies import ModelState, Tallies, Tally


def main() -> None:
    """Run models until SIGTERM, or until the parent is gone."""
    pause_collection()
    Imports(StartSteps(), *RUNNING_MODELS).wait()
    config = read_launch_config()
    settings = Settings(**config["settings"])
    configure(settings)
    try:
        parse(settings.models.device)
    except ModelUnavailableError as error:  # beside others it would draw requests, since it is never busy
        say(err, f"[bold red]vision serve:[/] {config['name']}: {plain(error)}")
        sys.exit(1)
    for number in (signal.SIGINT, signal.SIGHUP):  # the parent's, who tells by SIGTERM
        signal.signal(number, signal.SIG_IGN)
    asyncio.run(_serve(config, settings))
    # a thread that still loads or downloads a model would hold the process for as long as that takes
    os._exit(0)


async def _serve(config: dict[str, Any], settings: Settings) -> None:
    folder = Path(config["folder"])
    state = Tallies.open(folder / TALLIES, config["row"]).get("default_model")
    metrics = Metrics(
        settings.logs.max_metric_models,
        SharedMetrics(folder / METRICS, config["name"]),
        stage_cpu=settings.logs.stage_cpu,
    )
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    with ThreadPoolExecutor(threads(settings.batching.decode_threads), thread_name_prefix="prepare") as pool:
        registry = ModelRegistry(settings, FAMILIES, pool=pool, observer=ModelMetrics(metrics))
        server = EngineServer(registry, config["engines"][config["index"]], config["token"], settings)
        await server.serve()
        reporter = Reporter(config["report"])
        reporter.send(listening=config["name"])
        loading = asyncio.create_task(_load_default(config, settings, registry, state, reporter))
        await leaving.wait()
        loading.cancel()
        await server.close()
        await registry.close()


async def _load_default(
    config: dict[str, Any],
    settings: Settings,
    registry: ModelRegistry,
    state: Tally,
    reporter: Reporter,
) -> None:
    """Load the default model, where it is placed here, and tell parent and front ends how that went."""
    if settings.processes.engine_placement == "spread" and not _is_home(config, settings):
        state.own = ModelState.ELSEWHERE
        resume_collection()
        return
    state.own = ModelState.LOADING
    resume_collection()
    try:
        await load_default(registry)
    except Exception as error:
        state.own = ModelState.FAILED
        reporter.send(not_loaded=str(error))
        await wait_for_default(registry, settings.models.encoder_retry_s)
    state.own = ModelState.LIVE
    reporter.send(models=[f"{info.name} ({info.runtime})" for info in registry.live()])


@dataclass
class _Candidate:
    """An engine as front ends place models on it, were all connected."""

    endpoint: str
    chosen: int = 0
    is_connected: bool = True
    outstanding: int = 0


def _is_home(config: dict[str, Any], settings: Settings) -> bool:
    """Whether front ends will ask this engine for the default model."""
    candidates = [_Candidate(endpoint) for endpoint in config["engines"]]
    owner = choose_engine(candidates, "spread", "encoder", settings.models.encoder)
    return owner is candidates[config["index"]]


if __name__ == "__main__":
    main()
