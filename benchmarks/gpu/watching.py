"""How busy processor and GPU are while something runs."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median

import psutil

from benchmarks.driving import cpu_seconds
from tests.live import Live


@dataclass
class Watch:
    """A block's CPU seconds, and of the GPU the median of its use in percent and its peak memory in MiB.

    GPU figures are None where there is no `nvidia-smi`.
    """

    live: Live | None = None
    cpu_s: float = 0.0
    gpu_percent: float | None = None
    gpu_peak_mb: float | None = None
    _begun_s: float = 0.0
    _asking: subprocess.Popen[str] | None = field(default=None, repr=False)

    def __enter__(self) -> Watch:
        command = shutil.which("nvidia-smi")
        if command:
            query = "--query-gpu=utilization.gpu,memory.used"
            words = [command, query, "--format=csv,noheader,nounits", "--loop-ms=200", "--id=0"]
            self._asking = subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        self._begun_s = cpu_seconds(self.live) if self.live else 0.0
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            with suppress(psutil.Error):  # a service that has died is a failure of its own
                self.cpu_s = cpu_seconds(self.live) - self._begun_s
        if self._asking is None:
            return
        self._asking.terminate()
        said, _ = self._asking.communicate()
        rows = [line.split(",") for line in said.splitlines() if line.count(",") == 1]
        with suppress(ValueError):  # "[N/A]" on devices that do not tell
            if rows:
                self.gpu_percent = median(float(used) for used, _ in rows)
                self.gpu_peak_mb = max(float(memory) for _, memory in rows)
