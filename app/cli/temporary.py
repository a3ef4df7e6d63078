"""A service for one command: starts `vision serve` on a free loopback port and stops it when the block ends."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
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


class StartError(Exception):
    """The service for this command did not start; `str()` carries the end of its log."""


@contextmanager
def temporary_service(data_dir: Path | None) -> Iterator[str]:
    """Address of a service that lives as long as the block; raises `StartError`."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "app.cli", "serve", "--host", "127.0.0.1", "--port", str(port)]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    with tempfile.TemporaryFile("w+") as log:
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
                _wait_until_ready(process, url, log)
            yield url
        finally:
            _stop(process)


def _environment() -> dict[str, str]:
    """Other commands must not come to depend on a service that goes when this one is done; waiting jobs are begun only
    by a command that is about jobs; and one client needs no further processes, unless the settings name some.
    """
    own = {"VISION_ANNOUNCE": "false", "VISION_WORKER_AT_ONCE": "false"}
    if not os.environ.keys() & {"VISION_FRONT_ENDS", "VISION_ENGINES", "VISION_ENGINE_DEVICES"}:
        own["VISION_FRONT_ENDS"] = "0"
    return os.environ | own


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent(parent: int) -> None:
    """Runs in the child: a killed command must not leave its service behind (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: IO[str]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(f"the service did not start (exit code {process.returncode})\n{_tail(log)}")
        try:
            reply = httpx.get(f"{url}/readyz", timeout=2.0, trust_env=False)
            # a full disk stops no command that writes nothing, and the others get an error
            checks = reply.json().get("checks", {})
            if reply.is_success or [part for part, state in checks.items() if state != "ok"] == ["disk"]:
                return
        except (httpx.HTTPError, ValueError):
            pass
        time.sleep(0.1)
    raise StartError(f"the service was not ready after {_START_SECONDS:.0f} s\n{_tail(log)}")


def _tail(log: IO[str], lines: int = 20) -> str:
    log.seek(0)
    return "\n".join(log.read().splitlines()[-lines:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
