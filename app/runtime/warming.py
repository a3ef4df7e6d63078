"""What a start does beside its databases: importing what will answer, and not looking for garbage meanwhile.

Importing is most of a start's processor time, and starting the databases mostly waits: together they take as long as
the longer of the two.
"""

from __future__ import annotations

import gc
import importlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

ANSWERING = ("app.main", "uvloop", "uvicorn.lifespan.on", "sqlalchemy.dialects.postgresql.psycopg")
"""What answers requests; nothing of a deep learning library."""
RUNNING_MODELS = ("torch", "app.inference.runtimes")
"""What every model needs that runs in this process."""

log = structlog.get_logger("app.runtime")


class StartSteps:
    """Seconds of a start's steps, for one line of the log."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure the block; steps may overlap."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[f"{name}_s"] = round(time.perf_counter() - began, 3)

    def tell(self) -> None:
        """Log them, with the seconds since the beginning and the processor seconds of this process."""
        since = round(time.perf_counter() - self._began, 3)
        log.info("started", **self._seconds, total_s=since, cpu_s=round(time.process_time(), 3))


class Imports:
    """Imports modules in a thread of their own."""

    _NAME = "imports"

    def __init__(self, steps: StartSteps, *modules: str) -> None:
        """Begins at once."""
        self._steps = steps
        self._modules = modules
        self._thread = threading.Thread(target=self._load, name=self._NAME, daemon=True)
        self._thread.start()

    @classmethod
    def going_on(cls) -> bool:
        """Whether such a thread is still at work in this process."""
        return any(thread.name == cls._NAME for thread in threading.enumerate())

    def wait(self) -> None:
        """Return when all are there; one that failed fails again, with its reason, where it is used."""
        self._thread.join()

    def _load(self) -> None:
        with self._steps.step("imports"):
            for name in self._modules:
                try:
                    importlib.import_module(name)
                except Exception as error:
                    log.debug("a module could not be imported ahead", module=name, reason=str(error))


def pause_collection() -> None:
    """Stop looking for cyclic garbage: a fifth of the time of importing, which makes none."""
    gc.disable()


def resume_collection() -> None:
    """Look again, from now on without what a start has made for good."""
    gc.freeze()
    gc.enable()
