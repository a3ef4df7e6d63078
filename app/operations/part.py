"""Which part of a service one process is: all of it, or a front end whose models run in engines of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from app.families import FAMILIES
from app.inference.default_model import load_default, wait_for_default
from app.inference.engine.interface import Engine
from app.inference.registry import ModelRegistry
from app.observability.metrics import Metrics
from app.observability.observer import ModelMetrics
from app.settings import Settings
from app.storage.tallies import ModelState, Tallies


@dataclass(frozen=True)
class ServicePart:
    """What a process is given by its parent."""

    metrics: Metrics
    tallies: Tallies
    open_engine: Callable[[Settings, ThreadPoolExecutor], Awaitable[Engine]]
    """Opens what lends models; the pool decodes and prepares images, and is closed after it."""
    has_models: bool
    """Whether models run in this process."""
    cleans: bool
    """Whether it does what one process of a service has to do once, such as sweeping."""

    @classmethod
    def whole(cls, settings: Settings) -> ServicePart:
        """A service of one process."""
        metrics = Metrics(settings.logs.max_metric_models, stage_cpu=settings.logs.stage_cpu)

        async def open_registry(settings: Settings, pool: ThreadPoolExecutor) -> Engine:
            return ModelRegistry(settings, FAMILIES, pool=pool, observer=ModelMetrics(metrics))

        return cls(metrics, Tallies.alone(), open_registry, has_models=True, cleans=True)


class DefaultModel(Protocol):
    """The default model, while the app already answers."""

    def state(self) -> str:
        """`ok`, or what `/readyz` says of it."""

    async def close(self) -> None:
        """Stop loading the default model, where this process loads one."""


class OwnModel:
    """The default model of a process that runs models: loaded before the first request asks for it, which shares the
    load when it is early.
    """

    def __init__(self, engine: Engine, retry_s: float) -> None:
        """`retry_s` is that of `wait_for_default`."""
        self.loading = asyncio.create_task(load_default(engine))
        """The first try; raises what loading raises."""
        self.live = asyncio.create_task(self._wait(engine, retry_s))
        """Done when it has been loaded, at whichever try."""

    async def _wait(self, engine: Engine, retry_s: float) -> None:
        await asyncio.wait([self.loading])
        if not self._is_loaded():
            await wait_for_default(engine, retry_s)

    def _is_loaded(self) -> bool:
        return not self.loading.cancelled() and self.loading.exception() is None

    def state(self) -> str:
        """What became of loading it."""
        if not self.loading.done():
            return "loading"
        has_come = self.live.done() and not self.live.cancelled() and self.live.exception() is None
        return "ok" if has_come or self._is_loaded() else "could not be loaded"

    async def close(self) -> None:
        """Cancel loading; a load that others wait for goes on."""
        for task in (self.loading, self.live):
            task.cancel()
        await asyncio.gather(self.loading, self.live, return_exceptions=True)


class EngineModel:
    """The default model of a front end: each engine counts how its own is."""

    def __init__(self, tallies: Tallies) -> None:
        self._states = tallies.get("default_model")

    def state(self) -> str:
        """What the engines say now: `ok` while one has it."""
        found = set(self._states.parts)
        if ModelState.LIVE in found:
            return "ok"
        if ModelState.LOADING in found:
            return "loading"
        return "could not be loaded" if ModelState.FAILED in found else "no engine runs"

    async def close(self) -> None:
        """Nothing is loaded here."""
