"""Processes that `vision serve` runs beside itself: started, started again when they end, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from app.runtime.child_pipes import public_environment, read_messages

_LOOK_SECONDS = 0.2

log = structlog.get_logger("app.runtime")


@dataclass(frozen=True)
class Pauses:
    """Seconds before a process that ended is started again: growing while it ends early."""

    first_s: float = 1.0
    max_s: float = 60.0
    steady_s: float = 60.0
    """One that lived so long begins again with the first pause."""


@dataclass(frozen=True, eq=False)
class Child:
    """One process, however often it is started."""

    name: str
    command: tuple[str, ...]
    """A module and its arguments."""
    launch_config: Callable[[], dict[str, Any]]
    """Called after each start: the configuration to write as the first line of its standard input; `report` is added
    where there is `on_message`.
    """
    on_message: Callable[[dict[str, Any]], None] | None = None
    """Called in a thread with each message of the process."""
    on_end: Callable[[int], None] = lambda _: None
    """Called in a thread after each end, with the exit code."""
    environment: Mapping[str, str] = field(default_factory=dict)
    inherits: tuple[int, ...] = ()
    """File descriptors that it keeps open."""
    waits_for: threading.Event | None = None
    """It is not started before this is set."""
    configured_after: threading.Event | None = None
    """Its configuration is sent once this is set; it imports meanwhile."""
    pauses: Pauses = Pauses()


class Children:
    """The processes beside one service; all methods may be called from any thread."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._keepers: list[_Keeper] = []
        self._changing = threading.Lock()
        self._leaving = False

    def start(self, *children: Child) -> None:
        """Start them, unless others were stopped before. Returns at once; whatever ends is started again."""
        with self._changing:
            if not self._leaving:
                started = [_Keeper(child) for child in children]
                self._keepers += started
                for keeper in started:
                    keeper.guard.start()

    def drain(self, *children: Child) -> None:
        """Ask them (all without any) to finish what they work on and to end; returns at once."""
        for keeper in self._of(children):
            keeper.drain()

    def stop(self, *children: Child, within_s: float) -> None:
        """Return when none of them (of all without any) is left: drained, and killed after `within_s`.

        Safe to call twice. Once all were asked to stop, no further one is started.
        """
        keepers = self._of(children)
        for keeper in keepers:
            keeper.drain()
        deadline = time.monotonic() + within_s
        for keeper in keepers:
            keeper.guard.join(max(0.0, deadline - time.monotonic()))
        for keeper in keepers:
            keeper.kill()
        for keeper in keepers:
            keeper.guard.join()

    def kill(self) -> None:
        """Kill all of them at once."""
        for keeper in self._of(()):
            keeper.kill()

    def _of(self, children: tuple[Child, ...]) -> list[_Keeper]:
        with self._changing:
            self._leaving = self._leaving or not children
            return [keeper for keeper in self._keepers if not children or keeper.child in children]


class _Keeper:
    """Keeps one child running, in a thread."""

    def __init__(self, child: Child) -> None:
        self.child = child
        # a daemon: a service that ends in a hurry waits for nobody
        self.guard = threading.Thread(target=self._keep, name=child.name, daemon=True)
        self._changing = threading.Lock()
        self._leaving = threading.Event()
        self._running: subprocess.Popen[bytes] | None = None

    def drain(self) -> None:
        with self._changing:
            if not self._leaving.is_set():
                self._leaving.set()
                if self._running is not None:
                    self._running.terminate()

    def kill(self) -> None:
        with self._changing:
            self._leaving.set()
            if self._running is not None:
                _kill_session(self._running)

    def _keep(self) -> None:
        """Run the child until it shall end."""
        self._await(self.child.waits_for)
        pauses = self.child.pauses
        pause = pauses.first_s
        while not self._leaving.is_set():
            began = time.monotonic()
            try:
                code = self._run()
            except Exception as error:  # whatever it is, the next start may succeed
                reason = str(error) or type(error).__name__
                log.error("a process could not be started", process=self.child.name, reason=reason)
            else:
                if not self._leaving.is_set():
                    log.warning("a process ended and is started again", process=self.child.name, code=code)
            if time.monotonic() - began > pauses.steady_s:
                pause = pauses.first_s
            self._leaving.wait(pause)
            pause = min(2 * pause, pauses.max_s)

    def _run(self) -> int:
        """Start the child and wait for its end; its exit code."""
        report = None if self.child.on_message is None else self._open_report(self.child.on_message)
        try:
            with self._changing:
                if self._leaving.is_set():
                    return 0
                process = self._running = self._start(() if report is None else (report,))
        finally:
            if report is not None:
                os.close(report)
        with process:
            try:
                self._await(self.child.configured_after)
                _send_launch_config(
                    process, self.child.launch_config() | ({} if report is None else {"report": report})
                )
                code = process.wait()
            finally:
                with self._changing:
                    self._running = None
                    _kill_session(process)
        self.child.on_end(code)
        return code

    def _await(self, event: threading.Event | None) -> None:
        """Return when it is set, or the child shall end."""
        while not (event is None or event.wait(_LOOK_SECONDS) or self._leaving.is_set()):
            pass

    def _start(self, handles: tuple[int, ...]) -> subprocess.Popen[bytes]:
        # -P: a folder called `workers` where the service was started is not ours
        return subprocess.Popen(
            [sys.executable, "-P", "-m", *self.child.command],
            stdin=subprocess.PIPE,  # its end tells them that this process is gone, however it went
            env={**public_environment(), **self.child.environment},
            pass_fds=(*self.child.inherits, *handles),
            start_new_session=True,  # where Ctrl-C does not reach them
        )

    def _open_report(self, listen: Callable[[dict[str, Any]], None]) -> int:
        """A pipe whose reading end a thread listens to; its writing end."""
        reading, writing = os.pipe()

        def listen_on() -> None:
            for news in read_messages(reading):
                listen(news)

        threading.Thread(target=listen_on, name=f"{self.child.name}-report", daemon=True).start()
        return writing


def _send_launch_config(process: subprocess.Popen[bytes], launch_config: dict[str, Any]) -> None:
    """Write the configuration as the first line of a process's standard input."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):  # it has ended already, which its guard sees
            process.stdin.write(json.dumps(launch_config).encode() + b"\n")
            process.stdin.flush()


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """The process and what it has left in its session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
