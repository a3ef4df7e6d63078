"""A training process whose supervisor is gone or silent leaves, even while its work keeps Python from running."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from workers.worker import liveness

LEASE_S = 2.0
LONG_S = 60.0
IDLE = "import time; time.sleep(60)"
BUSY = "import ctypes; ctypes.PyDLL(None).sleep(60)"  # holds the interpreter's lock all the while
RANK = (
    "import sys; from pathlib import Path; from workers.worker import liveness; "
    "liveness.watch(Path(sys.argv[1]), float(sys.argv[2])); print('watching', flush=True); "
)
SUPERVISOR = (
    "import subprocess, sys, time; from pathlib import Path; from workers.worker import liveness; "
    "child = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE); print(child.pid, flush=True); "
    "[(liveness.beat(Path(sys.argv[1])), time.sleep(0.1)) for _ in range(600)]"
)


def rank(work: str, beat: Path, lease_s: float) -> list[str]:
    return [sys.executable, "-c", RANK + work, str(beat), str(lease_s)]


@contextmanager
def beating(beat: Path) -> Iterator[None]:
    """The lease is renewed all the while, however long the process takes to start."""
    ending = threading.Event()

    def renew() -> None:
        while not ending.wait(LEASE_S / 20):
            liveness.beat(beat)

    liveness.beat(beat)
    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        yield
    finally:
        ending.set()
        renewing.join()


@pytest.mark.slow
@pytest.mark.parametrize(("work", "codes"), [(IDLE, {liveness.ORPHANED}), (BUSY, {-signal.SIGALRM})])
def test_silence_for_a_lease_ends_it(work: str, codes: set[int], tmp_path: Path) -> None:
    beat = tmp_path / "heartbeat"
    liveness.beat(beat)
    child = subprocess.Popen(rank(work, beat, LEASE_S), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        with beating(beat):
            assert child.stdout is not None
            assert child.stdout.readline() == b"watching\n"
            if work == IDLE:  # as long as the lease is renewed, it stays
                time.sleep(1.25 * LEASE_S)
                assert child.poll() is None
        assert child.wait(40) in codes
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("work", [IDLE, BUSY])
def test_it_ends_with_its_supervisor(work: str, tmp_path: Path) -> None:
    beat = tmp_path / "heartbeat"
    liveness.beat(beat)
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(beat), *rank(work, beat, LONG_S)], stdout=subprocess.PIPE
    )
    try:
        assert supervisor.stdout is not None
        child = psutil.Process(int(supervisor.stdout.readline()))
        assert supervisor.stdout.readline() == b"watching\n"
        supervisor.kill()
        killed = time.monotonic()
        with suppress(psutil.NoSuchProcess):
            while child.status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() - killed < LONG_S / 2
                time.sleep(0.01)
    finally:
        supervisor.kill()
        supervisor.communicate()
