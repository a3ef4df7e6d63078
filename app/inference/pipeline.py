"""A batcher for a device that takes its next batch while it computes the one before."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.inference.batcher import IDLE_CHECK_SECONDS, Batcher
from app.inference.handoff import Outcome, Waiting
from app.inference.observing import BatchObserver

T = TypeVar("T")
R = TypeVar("R")

DEPTH = 2
"""Batches on the device: one that is computed and one that is made ready behind it."""
_GATHERED = 0.5
"""A second batch begins when it has this share of the items of the one under way, or is as large as batches get. A
smaller one waits: its fixed cost would be paid for few."""


@dataclass(eq=False)
class _Flight(Generic[T, R]):
    """A batch on the device."""

    group: str
    entries: list[Waiting[T]]
    began: float
    finish: Callable[[], Sequence[R]]


class PipelinedBatcher(Batcher[T, R]):
    """Launches a batch on one thread and collects it on another; all else, errors included, is as with `Batcher`.

    A batch whose launch or result fails is run again by `run`, which then halves it or takes it apart.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[str, list[T]], Sequence[R]],
        launch: Callable[[str, list[T]], Callable[[], Sequence[R]] | None],
        *,
        max_batch: int,
        max_queue: int,
        observer: BatchObserver | None = None,
    ) -> None:
        """`launch(group, items)` queues a batch on the device and gives what waits for its results; None for a group
        that `run` takes. `run` and `launch` may be called at the same time.
        """
        self._launch = launch
        self._in_flight = 0
        self._flying = 0
        """Items of the batch that was launched last."""
        self._landed = 0.0
        self._landing: queue.SimpleQueue[_Flight[T, R] | None] = queue.SimpleQueue()
        super().__init__(name, run, max_batch=max_batch, max_queue=max_queue, observer=observer)

    # --- the launching thread

    def _serve(self) -> None:
        collecting = threading.Thread(target=self._collect, name=f"collecting-{self.name}", daemon=False)
        collecting.start()
        try:
            while True:
                self._await_turn()
                if (taken := self._take()) is None:
                    break
                group, entries = taken
                if entries and not self._begin(group, entries):
                    self._work(group, entries)
                del taken, entries
        finally:
            self._landing.put(None)
            collecting.join()

    def _await_turn(self) -> None:
        """Wait until a batch is worth launching, or it is time to stop."""
        with self._wake:
            while self._in_flight and not self._closed and threading.main_thread().is_alive():
                enough = min(self._stats.max_batch, max(1, int(_GATHERED * self._flying)))
                if self._in_flight < DEPTH and self._stats.queue_depth >= enough:
                    break
                self._wake.wait(IDLE_CHECK_SECONDS)

    def _begin(self, group: str, entries: list[Waiting[T]]) -> bool:
        """Launch a batch; False where it has to be run instead, alone on the device."""
        began = time.monotonic()
        try:
            finish = self._launch(group, [entry.item for entry in entries])
        except BaseException:  # `run` fails likewise and tells whose fault it is
            finish = None
            with self._wake:
                while self._in_flight:
                    self._wake.wait(IDLE_CHECK_SECONDS)
        if finish is None:
            return False
        with self._wake:
            self._in_flight += 1
            self._flying = len(entries)
        self._landing.put(_Flight(group, entries, began, finish))
        return True

    # --- the collecting thread

    def _collect(self) -> None:
        while (flight := self._landing.get()) is not None:
            try:
                self._land(flight)
            finally:
                del flight
                with self._wake:
                    self._in_flight -= 1
                    self._wake.notify_all()

    def _land(self, flight: _Flight[T, R]) -> None:
        entries = flight.entries
        try:
            results = flight.finish()
            if len(results) != len(entries):
                raise RuntimeError(f"{self.name} gave {len(results)} results for {len(entries)} items")
        except BaseException:  # `run` fails likewise and tells whose fault it is; whoever waits is answered
            if wanted := self._still_wanted(entries):
                self._work(flight.group, wanted)
            return
        ended = time.monotonic()
        began = max(flight.began, self._landed)  # what it waited for the batch before is not its own time
        self._landed = ended
        waits_s = [flight.began - entry.since for entry in entries]
        self._finish(flight.group, waits_s, ended - began, [Outcome(entries, results)])
