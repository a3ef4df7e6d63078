"""Jobs' processes as forks: most of a short job's time is what its libraries take to come in. tests/faults, where
processes are killed, starts them as a worker does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.forks import find_forks, fork_by

_START = [sys.executable, "-m", "workers.worker.trainer"]
_inside = ContextVar("_inside", default=False)


class ForkedJob:
    """What a supervisor uses of `subprocess.Popen`. Ended by a signal, its code is that of SIGKILL."""

    def __init__(self, forks: Path, words: list[str], env: dict[str, str], cwd: Path) -> None:
        child_in, stdin = os.pipe()
        stdout, child_out = os.pipe()
        self.stdin, self.stdout = os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb")
        self._way = fork_by(forks, words, env, cwd, (child_in, child_out, child_out))
        os.close(child_in)
        os.close(child_out)
        self._said = b""
        while b"\n" not in self._said and self._hear(None):
            pass
        self.pid = int(self._said.split(b"\n")[0])
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """The same; raises subprocess.TimeoutExpired when it has not ended by then."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(_START, timeout or 0)
        return code

    def terminate(self) -> None:
        """Ask it to end."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def _look(self, timeout: float | None) -> int | None:
        while self.returncode is None:
            try:
                if self._hear(timeout):
                    continue
            except (BlockingIOError, TimeoutError):
                return None
            code = self._said.split(b"\n")[1]
            self.returncode = int(code) if code else -signal.SIGKILL
            self._way.close()
        return self.returncode

    def _hear(self, timeout: float | None) -> bool:
        """More of what it says; not any more once it has ended."""
        self._way.settimeout(timeout)
        part = self._way.recv(64)
        self._said += part
        return bool(part)


class _Subprocess:
    """`subprocess` for a module that starts jobs: a job's one process is forked."""

    def __init__(self, forks: Path | None) -> None:
        self._forks = forks

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(self, command: list[str], **options: Any) -> Any:  # noqa: N802 - as in subprocess
        """See `subprocess.Popen`."""
        env = options["env"]
        forks = self._forks or (find_forks("job", env) if _inside.get() else None)
        if forks is None or command[:-1] != _START:
            return subprocess.Popen(command, **options)
        return ForkedJob(forks, command[-1:], env, options["cwd"])


def fork_jobs_of(module: ModuleType, forks: Path | None = None) -> None:
    """Let the module, `workers.worker.launching`, fork by that process; or by this one's inside of `jobs_as_forks`."""
    setattr(module, "subprocess", _Subprocess(forks))  # noqa: B010 - which a type checker knows as a module


@contextmanager
def jobs_as_forks() -> Iterator[None]:
    """For a block and the threads that it starts by `asyncio.to_thread`."""
    before = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(before)
