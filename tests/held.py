"""Training processes that stop themselves at a place, so that a test meets them there however late it looks."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

STOPPING_NAMES = "PYTHONPATH,TEST_STOP_AT"
"""The variables that a worker hands on to a training process that is to stop, as `job_environment`."""
_STOPPING = Path(__file__).parent / "stopping"
"""On `PYTHONPATH`, lets a training process stop; see its sitecustomize.py for the places."""


def stopping_at(places: str) -> dict[str, str]:
    """The environment of a worker whose training processes stop there."""
    return {
        "PYTHONPATH": str(_STOPPING),
        "TEST_STOP_AT": places,
        "VISION_JOB_ENVIRONMENT": STOPPING_NAMES,
    }


def held(processes: Callable[[], list[psutil.Process]], deadline_s: float = 90) -> psutil.Process:
    """The one of the processes that has stopped itself, once it has; `resume` lets it go on."""
    deadline = time.monotonic() + deadline_s
    while True:
        for process in processes():
            with suppress(psutil.NoSuchProcess):  # it has just ended
                if process.status() == psutil.STATUS_STOPPED:
                    return process
        assert time.monotonic() < deadline, "no process stopped"
        time.sleep(0.03)


def is_asked_to_end(process: psutil.Process) -> bool:
    """Whether a stopped process has a SIGTERM before it, which it takes when it goes on."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (pending,) = (line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:"))
    return bool(int(pending, 16) & 1 << signal.SIGTERM - 1)
