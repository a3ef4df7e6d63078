"""Ends a block that never lets the event loop run, which no timeout of asyncio can."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def cpu_seconds_at_most(seconds: float) -> Iterator[None]:
    """Fail a block that takes more of this process's CPU time; in the main thread alone."""

    def fail(_: int, __: FrameType | None) -> None:
        raise AssertionError(f"it goes on after {seconds:g} s of CPU time")

    before = signal.signal(signal.SIGPROF, fail)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
