"""How fast a job trains and what it takes of its GPU, as figures of its progress."""

from __future__ import annotations

import importlib.util
import time
from contextlib import suppress

import torch

_MIB = 1 << 20


class Throughput:
    """Counts from the first step on, pauses to look at held-out examples left out."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._samples = self._tokens = 0
        self._seconds = 0.0
        self._began: float | None = None

    def begin(self) -> None:
        """A step begins."""
        self._began = time.monotonic()

    def end(self, samples: int, tokens: int = 0) -> dict[str, float]:
        """A step of so many examples, and tokens where a language model reads them, is done: the figures so far.

        `tokens` leaves padding out and takes image tokens in, as they lie in the text. Memory is the most that torch
        held on the device, in MiB; utilisation, in per cent, is NVML's, and needs the package `nvidia-ml-py`.
        """
        if self._began is not None:
            self._seconds += time.monotonic() - self._began
            self._samples += samples
            self._tokens += tokens
            self._began = None
        return self.figures()

    def figures(self) -> dict[str, float]:
        """See `end`; nothing before the first step."""
        if not self._seconds:
            return {}
        found = {"samples_per_s": round(self._samples / self._seconds, 2)}
        if self._tokens:
            found["tokens_per_s"] = round(self._tokens / self._seconds, 1)
        if self._device.type == "cuda":
            found["device_memory_mb"] = float(torch.cuda.max_memory_allocated(self._device) // _MIB)
            if importlib.util.find_spec("pynvml") is not None:
                with suppress(Exception):  # a driver that tells nothing is no reason to end a training
                    found["device_utilisation"] = float(torch.cuda.utilization(self._device))
        elif self._device.type == "mps":
            found["device_memory_mb"] = float(torch.mps.driver_allocated_memory() // _MIB)
        return found
