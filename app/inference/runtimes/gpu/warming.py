"""Graphs recorded and the largest batch measured in the background, taking turns with requests."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import torch

from app.inference.memory import is_out_of_memory
from app.inference.runtimes.gpu.buckets import buckets_up_to
from app.inference.runtimes.gpu.knee import knee, measure
from app.inference.runtimes.gpu.runtime import GpuRuntime
from app.inference.runtimes.notes import Note

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.02
"""Between two recordings, so that batches that wait get their turn."""
_SHORT_SHARE = 0.03
"""A device with less of its memory free than that is full."""


class Warming:
    """Prepares one runtime, in a thread of its own unless `run` is called."""

    def __init__(
        self, runtime: GpuRuntime, note: Note, *, largest: int | None, on_largest: Callable[[int], None]
    ) -> None:
        """`largest` is the largest batch where it is settled; else it is measured up to what the runtime takes, kept in
        `note` and told to `on_largest`, which is also told when memory allows less.
        """
        self._runtime = runtime
        self._note = note
        self._settled = largest
        self._on_largest = on_largest
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to record and measure in the background."""
        self._thread = threading.Thread(target=self._run_safely, name="gpu-warming", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Block until it has ended, for so long at most."""
        if self._thread is not None:
            self._thread.join(seconds)

    def stop(self) -> None:
        """End after the step under way. Blocks; may be called twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def run(self) -> None:
        """Record the graphs, largest first, so that smaller ones use its memory again; then measure."""
        limit = self._settled or self._read_kept() or self._runtime.options.max_batch
        sizes = buckets_up_to(limit)
        fitting = self._record(sizes)
        if self._stop.is_set() or not fitting:
            return
        if self._settled or self._read_kept():
            if max(fitting) < limit:
                self._on_largest(max(fitting))
            return
        rates = measure(fitting, self._seconds)
        if self._stop.is_set() or not rates:
            return
        largest = knee(rates)
        self._runtime.forget([size for size in sizes if size > largest])
        measured = {str(size): round(rate, 1) for size, rate in rates.items()}
        self._note.write({"largest": largest, "images_per_s": measured})
        log.info("The largest batch is %d: %s", largest, _describe_rates(rates))
        self._on_largest(largest)

    def _run_safely(self) -> None:
        try:
            self.run()
        except Exception:  # requests go on with what there is
            log.warning("Preparing %s on its GPU failed.", self._runtime.label, exc_info=True)

    def _read_kept(self) -> int | None:
        """What was measured before on such a device."""
        found = self._note.read().get("largest")
        limit = self._runtime.options.max_batch
        return min(found, limit) if isinstance(found, int) and found > 0 else None

    def _record(self, sizes: tuple[int, ...]) -> list[int]:
        """The sizes that fit into memory, whether recorded or not."""
        fitting = []
        for size in reversed(sizes):
            if self._stop.is_set():
                break
            error = self._attempt(size)
            if error is None:
                fitting.append(size)
            elif self._is_memory(error):
                log.warning("A batch of %d does not fit into the memory of %s.", size, self._runtime.label)
            else:
                log.warning("%s records no graphs and runs without: %s", self._runtime.label, error)
                self._runtime.give_up_graphs("without graphs, since none could be recorded")
                return [size for size in sizes if not fitting or size <= max(fitting)]
            self._stop.wait(_PAUSE_SECONDS)
        return sorted(fitting)

    def _attempt(self, size: int) -> Exception | None:
        """Record one size; what went wrong, or None."""
        try:
            self._runtime.record(size)
        except Exception as error:
            return error.with_traceback(None)  # whose frames would hold the memory
        return None

    def _is_memory(self, error: Exception) -> bool:
        """Whether a recording failed for lack of memory. Where torch runs out in the middle of one, it may say that the
        recording is invalid instead (pytorch#159594).
        """
        free = self._runtime.device.free_bytes
        is_short = free is not None and free < _SHORT_SHARE * self._runtime.device.memory_bytes
        return is_out_of_memory(error) or is_short

    def _seconds(self, size: int, repeats: int) -> float:
        streams = self._runtime.streams
        self._stop.wait(_PAUSE_SECONDS)
        try:
            with streams.lock, torch.inference_mode():
                return streams.time(lambda: self._runtime.forward.run(size), repeats)
        except Exception as error:
            if is_out_of_memory(error):
                return float("inf")
            raise


def _describe_rates(rates: dict[int, float]) -> str:
    return ", ".join(f"{rate:.0f} images/s at {size}" for size, rate in rates.items())
