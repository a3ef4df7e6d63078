"""A service for one command: starts `vision serve` on a free loopback port and stops it when the block ends."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import httpx

from app.cli import output

_START_SECONDS = 180.0  # the very first start prepares a database and the model
_STOP_SECONDS = 45.0  # a job under way first writes a checkpoint
_PR_SET_PDEATHSIG = 1
_LISTENS = re.compile(r"^Listening on (http://[\d.]+:\d+)[, ]", re.MULTILINE)


class StartError(Exception):
    """The service for this command did not start; `str()` carries the end of its log."""


@contextmanager
def temporary_service(data_dir: Path | None) -> Iterator[str]:
    """Address of a service that lives as long as the block; raises `StartError`."""
    # the service picks the port itself: one that was found free here could be another program's by the time it listens
    command = [sys.executable, "-m", "app.cli", "serve", "--host", "127.0.0.1", "--port", "0"]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    with _log_file() as log:
        # a session of its own: Ctrl-C reaches this command first, which then stops the service in order
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=_environment(),
            preexec_fn=partial(_die_with_parent, os.getpid()),
        )
        try:
            with output.err.status("Starting a service for this command (`vision serve` keeps one ready)..."):
                url = _wait_until_ready(process, log)
            yield url
        finally:
            _stop(process)


def _log_file() -> IO[bytes]:
    """In memory where the system has such files: a full disk stops no command that writes nothing."""
    try:
        return os.fdopen(os.memfd_create("log"), "w+b")
    except (AttributeError, OSError):
        return tempfile.TemporaryFile()


def _environment() -> dict[str, str]:
    """Other commands must not come to depend on a service that goes when this one is done; waiting jobs are begun only
    by a command that is about jobs; and one client needs no further processes, unless the settings name some.
    """
    own = {"VISION_ANNOUNCE": "false", "VISION_WORKER_AT_ONCE": "false"}
    if not os.environ.keys() & {"VISION_FRONT_ENDS", "VISION_ENGINES", "VISION_ENGINE_DEVICES"}:
        own["VISION_FRONT_ENDS"] = "0"
    return os.environ | own


def _die_with_parent(parent: int) -> None:
    """Runs in the child: a killed command must not leave its service behind (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _wait_until_ready(process: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    """The service's address, once it is ready."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(f"the service did not start (exit code {process.returncode})\n{_tail(log)}")
        listens = _LISTENS.search(_read(log))
        if listens and _is_ready(listens[1]):
            return listens[1]
        time.sleep(0.1)
    raise StartError(f"the service was not ready after {_START_SECONDS:.0f} s\n{_tail(log)}")


def _is_ready(url: str) -> bool:
    """Whether it answers; a full disk stops no command that writes nothing, and the others get an error."""
    try:
        reply = httpx.get(f"{url}/readyz", timeout=2.0, trust_env=False)
        checks = reply.json().get("checks", {})
    except (httpx.HTTPError, ValueError):
        return False
    return reply.is_success or [part for part, state in checks.items() if state != "ok"] == ["disk"]


def _read(log: IO[bytes]) -> str:
    """What the service said so far; its place for writing, which this process shares, stays where it is."""
    return os.pread(log.fileno(), os.fstat(log.fileno()).st_size, 0).decode(errors="replace")


def _tail(log: IO[bytes], lines: int = 20) -> str:
    return "\n".join(_read(log).splitlines()[-lines:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
