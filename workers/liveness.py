"""How a training process learns that nobody supervises it any more, and leaves at once.

Knows a pipe on standard input, which ends when the supervisor dies, and a file that it touches with each renewed
lease; knows nothing of jobs. Every rank watches both, so that neither a killed nor a stopped supervisor leaves a
process beside its successor's.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from pathlib import Path

ORPHANED = 76
"""Exit code of a process that left."""


def beat(file: Path) -> None:
    """In the supervisor: the lease was renewed just now, on the clock that all processes of a machine share."""
    draft = file.with_suffix(".new")
    draft.write_text(str(time.monotonic()))
    draft.rename(file)


def watch(file: Path, lease_s: float) -> None:
    """In a rank: leave once standard input ends, or the file is older than a lease."""
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLHUP)

    def look() -> None:
        while True:
            # nothing is ever written: the only event is the end
            if poll.poll(min(lease_s / 6, 1.0) * 1e3) or _age(file) > lease_s:
                os._exit(ORPHANED)

    threading.Thread(target=look, name="liveness", daemon=True).start()


def _age(file: Path) -> float:
    try:
        return time.monotonic() - float(file.read_text())
    except (OSError, ValueError):
        return float("inf")
