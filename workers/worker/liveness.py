"""How a training process learns that nobody supervises it any more, and leaves at once.

Every rank watches both, so that neither a killed nor a stopped supervisor leaves a process beside its successor's.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path

ORPHANED = 76
"""Exit code of a process that left."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def beat(file: Path) -> None:
    """In the supervisor: the lease was renewed just now, on the clock that all processes of a machine share."""
    draft = file.with_suffix(".new")
    draft.write_text(str(time.monotonic()))
    draft.rename(file)


def watch(file: Path, lease_s: float) -> None:
    """In a rank, on its main thread: leave once standard input ends, or the file is older than a lease.

    Work that keeps Python from running does not keep the process: on Linux the kernel ends it with its parent, and
    everywhere an alarm does once nobody has looked for two leases.
    """
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLHUP)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.setitimer(signal.ITIMER_REAL, 2 * lease_s)  # the thread below may not run before the work does

    def look() -> None:
        beaten = time.monotonic()
        while True:
            beaten = _read_heartbeat(file, beaten)
            age = time.monotonic() - beaten
            if age > lease_s:
                os._exit(ORPHANED)
            signal.setitimer(signal.ITIMER_REAL, 2 * lease_s - age)
            # nothing is ever written: the only event is the end
            if poll.poll(min(lease_s / 6, 1.0) * 1e3):
                os._exit(ORPHANED)

    threading.Thread(target=look, name="liveness", daemon=True).start()


def _read_heartbeat(file: Path, before: float) -> float:
    """When the lease was last renewed; as `before` where this process may open no more files."""
    try:
        return float(file.read_text())
    except OSError as error:
        return before if error.errno in (errno.EMFILE, errno.ENFILE) else float("-inf")
    except ValueError:
        return float("-inf")
