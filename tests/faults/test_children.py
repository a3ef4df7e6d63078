"""The worker and the sweeper beside `vision serve`: small, started again, and never left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.embedded import Addresses
from app.runtime.children import Child, Children, Pauses
from app.runtime.job_processes import job_processes
from app.settings import Settings
from tests.cluster import PERIODS, until
from tests.live import serving

IDLE_MB = 1_536


def beside(parent: int) -> dict[str, psutil.Process]:
    """The processes beside a service, by the first queue they listen to."""
    found = {}
    for process in psutil.Process(parent).children():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            words = process.cmdline()
            if "workers.worker.beside" in words:
                found[words[words.index("workers.worker.beside") + 1].split(",")[0]] = process
    return found


def both(parent: int) -> dict[str, psutil.Process]:
    """Both of them, once they listen."""
    found: dict[str, psutil.Process] = until(lambda: len(now := beside(parent)) == 2 and now, 90)
    until(lambda: all(listens(process) for process in found.values()), 90)
    return found


def listens(process: psutil.Process) -> bool:
    """Whether it has taken SIGTERM into its own hands, and watches over its service."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1) and process.num_threads() > 1


def left(processes: dict[str, psutil.Process]) -> list[psutil.Process]:
    """Those that still run."""
    found = []
    for process in processes.values():
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.slow
def test_they_are_small_say_no_password_and_go_with_a_killed_service(tmp_path: Path) -> None:
    with serving(tmp_path / "data", VISION_WORKER="true", **PERIODS) as live:
        found = both(live.process.pid)
        assert set(found) == {"cpu", "sweep"}
        for process in found.values():
            # neither supervising nor sweeping needs what trains
            assert "torch" not in Path(f"/proc/{process.pid}/maps").read_text()
            assert "://" not in " ".join(process.cmdline())
        used = 0
        for pid in live.family():
            with suppress(psutil.NoSuchProcess):  # a connection's process may have ended since
                used += psutil.Process(pid).memory_full_info().uss
        assert 0 < used < IDLE_MB << 20
        assert not list(Path.cwd().glob("celerybeat*")), "a file where the service was started"
        live.process.kill()
        live.process.wait(60)
        until(lambda: not left(found), 60, "they outlived their service")


@pytest.mark.slow
def test_one_that_dies_comes_back_until_all_are_stopped(addresses: Addresses, tmp_path: Path) -> None:
    me = os.getpid()
    children = Children()
    kept = job_processes(Settings(data_dir=tmp_path, job_stop_grace_s=30), addresses, threading.Event())
    try:
        children.start(*kept)
        before = both(me)
        before["cpu"].kill()
        until(lambda: len(now := beside(me)) == 2 and now["cpu"] != before["cpu"])
        after = both(me)
        assert after["sweep"] == before["sweep"]
        began = time.monotonic()
        children.stop(within_s=60)
        assert time.monotonic() - began < 60, "they were killed"
        assert not left(after)
        children.start(*kept)
        assert beside(me) == {}, "what was stopped stays so"
    finally:
        children.kill()


def test_one_that_cannot_be_told_is_started_again_and_none_is_left_behind() -> None:
    """Whatever went wrong: the guard goes on, and the process that was told nothing ends."""
    told: list[int] = []
    waits = "import time; time.sleep(60)"

    def tell() -> dict[str, Any]:
        told.append(len(told))
        if len(told) < 3:
            raise RuntimeError("not yet")
        return {}

    def running() -> list[psutil.Process]:
        found = []
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):  # it has ended since
                if waits in child.cmdline():
                    found.append(child)
        return found

    children = Children()
    child = Child(
        "waits", ("timeit", "-n", "1", "-r", "1", waits), tell, pauses=Pauses(first_s=0.05, max_s=0.1)
    )
    try:
        children.start(child)
        until(lambda: len(told) == 3 and len(running()) == 1)
    finally:
        children.kill()
    until(lambda: not running(), 30)


def test_they_wait_for_a_job_where_told_to(addresses: Addresses, tmp_path: Path) -> None:
    me = os.getpid()
    children = Children()
    asked = threading.Event()
    try:
        children.start(*job_processes(Settings(data_dir=tmp_path, worker_at_once=False), addresses, asked))
        time.sleep(0.5)
        assert beside(me) == {}
        asked.set()
        found = until(lambda: len(now := beside(me)) == 2 and now)
        children.kill()
        until(lambda: not left(found), 30)
    finally:
        children.stop(within_s=5)
