"""How busy processor and GPU are while something runs."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median

import psutil

from benchmarks.driving import cpu_seconds
from benchmarks.gpu.machine import ask_nvidia
from tests.live import Live

SAMPLE_SECONDS = 0.25


@dataclass
class Watch:
    """A block's CPU seconds, and of the first GPU the median of its use in percent and its peak memory in MiB.

    GPU figures are None where neither NVIDIA's Python library nor `nvidia-smi` tells them.
    """

    live: Live | None = None
    cpu_s: float = 0.0
    gpu_percent: float | None = None
    gpu_peak_mb: float | None = None
    _begun_s: float = 0.0
    _samples: list[tuple[float, float]] = field(default_factory=list, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)

    def __enter__(self) -> Watch:
        self._begun_s = cpu_seconds(self.live) if self.live else 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            with suppress(psutil.Error):  # a service that has died is a failure of its own
                self.cpu_s = cpu_seconds(self.live) - self._begun_s
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._samples:
            self.gpu_percent = median(used for used, _ in self._samples)
            self.gpu_peak_mb = max(memory for _, memory in self._samples)

    def _watch(self) -> None:
        while (sample := sample_gpu()) is not None and not self._stop.wait(SAMPLE_SECONDS):
            self._samples.append(sample)


def sample_gpu() -> tuple[float, float] | None:
    """(use in percent, memory in MiB) of the first GPU now."""
    try:
        import pynvml
    except ImportError:
        told = ask_nvidia("utilization.gpu,memory.used")
        with suppress(ValueError):  # "[N/A]" on devices that do not tell
            if told:
                used, memory = told.split(",")
                return float(used), float(memory)
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        used = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
        return float(used), pynvml.nvmlDeviceGetMemoryInfo(handle).used / 1024**2
    except pynvml.NVMLError:
        return None
