"""The worker and the sweeper that `vision serve` runs beside itself: started, started again, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import structlog

from app.embedded import Addresses
from app.inference.device import count_gpus
from app.settings import Settings

_MODULE = "workers.worker.beside"
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_LIVED_LONG_S = 60.0
_ASKED_S = 0.2
_LEAVE_S = 8.0
"""How much longer than a job's grace a worker gets to end."""
_CONFIDENTIAL = frozenset(
    f"VISION_{name}" for name in ("DATABASE_URL", "REDIS_URL", "API_KEY", "SECRET", "REMOTE_API_KEY")
)
"""Variables that the children do not inherit: the addresses they are told, the others they need not know."""
_SWEEPER_SLOTS = 2
"""One to sweep, one to tidy."""

log = structlog.get_logger("app.runtime")


class Children:
    """The processes beside one service; all methods may be called from any thread."""

    def __init__(self, settings: Settings, addresses: Addresses) -> None:
        """Nothing is started yet."""
        self._settings = settings
        self._addresses = addresses
        self._guards: list[threading.Thread] = []
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._changing = threading.Lock()
        self._leaving = threading.Event()

    def start(self, asked: threading.Event) -> None:
        """Start them, unless the settings leave work to others, or they were started or stopped before.

        Returns at once; whatever ends is started again, after a pause that grows while it ends early. Where the
        settings say so, they start once a job was asked for.
        """
        with self._changing:
            if not self._settings.jobs.worker or self._guards or self._leaving.is_set():
                return
            # daemons: a service that ends in a hurry waits for nobody
            self._guards = [
                threading.Thread(target=self._keep, args=(name, asked), name=name, daemon=True)
                for name in ("worker", "sweeper")
            ]
            for guard in self._guards:
                guard.start()

    def drain(self) -> None:
        """Ask them to give back what they work on and to end; returns at once."""
        with self._changing:
            if not self._leaving.is_set():
                self._leaving.set()
                for process in self._running.values():
                    process.terminate()

    def kill(self) -> None:
        """End them at once; what they work on is another's when its lease is over."""
        with self._changing:
            self._leaving.set()
            for process in self._running.values():
                _kill_session(process)

    def stop(self) -> None:
        """Return when none is left: drained within a job's grace, killed after it. Safe to call twice."""
        self.drain()
        deadline = time.monotonic() + self._settings.jobs.job_stop_grace_s + _LEAVE_S
        for guard in self._guards:
            guard.join(max(0.0, deadline - time.monotonic()))
        self.kill()
        for guard in self._guards:
            guard.join()

    def _keep(self, name: str, asked: threading.Event) -> None:
        """Run one of them until all shall end."""
        while not (self._settings.jobs.worker_at_once or asked.wait(_ASKED_S) or self._leaving.is_set()):
            pass
        if name == "sweeper":
            queues, slots = "sweep", _SWEEPER_SLOTS
        else:
            queues, slots = _queues(self._settings), self._settings.jobs.job_slots
        pause = _FIRST_PAUSE_S
        while not self._leaving.is_set():
            began = time.monotonic()
            try:
                code = self._run(name, queues, slots)
            except OSError as error:
                log.error("a worker could not be started", worker=name, reason=str(error))
            else:
                if not self._leaving.is_set():
                    log.warning("a worker ended and is started again", worker=name, code=code)
            if time.monotonic() - began > _LIVED_LONG_S:
                pause = _FIRST_PAUSE_S
            self._leaving.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _run(self, name: str, queues: str, slots: int) -> int:
        """Start one of them and wait for its end; its exit code."""
        with self._changing:
            if self._leaving.is_set():
                return 0
            # -P: a folder called `workers` where the service was started is not ours
            process = self._running[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, queues, str(slots)],
                stdin=subprocess.PIPE,  # its end tells them that this process is gone, however it went
                env=self._environment(),
                start_new_session=True,  # where Ctrl-C does not reach them
            )
            self._confide(process)
        with process:
            code = process.wait()
            with self._changing:
                del self._running[name]
                _kill_session(process)
        return code

    def _confide(self, process: subprocess.Popen[bytes]) -> None:
        """Tell a process, as the first line of its standard input, what its environment does not hold."""
        given = {"database_url": self._addresses.database_url, "redis_url": self._addresses.redis_url}
        if process.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended already, which its guard sees
                process.stdin.write(json.dumps(given).encode() + b"\n")
                process.stdin.flush()

    def _environment(self) -> dict[str, str]:
        """This process's without what the children need to know of nobody."""
        kept = {name: value for name, value in os.environ.items() if name not in _CONFIDENTIAL}
        return kept | {"VISION_DATA_DIR": str(self._settings.server.data_dir)}


def _queues(settings: Settings) -> str:
    """What this machine can work on."""
    return ",".join(["cpu", "gpu", "multi-gpu"][: 1 + min(count_gpus(settings.models.device), 2)])


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """The process and what it has left in its session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
