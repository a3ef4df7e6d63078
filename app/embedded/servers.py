"""Both embedded servers of one data folder, shared by every process that serves it.

A shared lock counts the users; the last user stops the servers, and a killed process loses its lock. Each
user has a watcher, a process that outlives it and stops the servers where it was killed and was the last.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.embedded.errors import BusyError, EmbeddedError
from app.embedded.layout import STATE_FOLDER, Layout, forget, lay_out, state_folder
from app.embedded.postgres import Postgres
from app.embedded.processes import environment
from app.embedded.valkey import Valkey

LOCK_SECONDS = 150.0
"""Longest wait for another process that starts or stops the servers."""
GUARD_SECONDS = 1.0
GUARD_PAUSE_SECONDS = 30.0
USERS_FILE = "users"
"""Whoever uses the servers holds a shared lock of it."""
LINGER_SECONDS = 30.0
"""How long the servers run on after their last user was killed."""
_WATCHER = Path(__file__).with_name("watcher.py")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Addresses:
    """Where PostgreSQL and Redis are, passwords included: keep it out of logs."""

    database_url: str = field(repr=False)
    """`postgresql://...` as libpq reads it."""
    redis_url: str = field(repr=False)
    """`redis://...` or `unix://...` as redis-py reads it."""


class EmbeddedServers:
    """The servers of `data_dir`, unless their URL is given."""

    def __init__(
        self,
        data_dir: Path,
        *,
        database_url: str | None = None,
        redis_url: str | None = None,
        durable: bool = True,
        linger_s: float = LINGER_SECONDS,
    ) -> None:
        """Nothing happens before `start`.

        Not `durable` trades surviving a power cut for speed: for databases that are thrown away. After this process
        was killed, the servers run on for `linger_s` seconds.
        """
        self._data_dir = data_dir.expanduser().resolve()
        self._database_url = database_url or None
        self._redis_url = redis_url or None
        self._durable = durable
        self._addresses: Addresses | None = None
        self._layout: Layout | None = None
        self._users: int | None = None
        self._servers: list[Postgres | Valkey] = []
        self._leaving = threading.Event()
        self._guard: threading.Thread | None = None
        self._linger_s = linger_s
        self._watcher: subprocess.Popen[bytes] | None = None

    def start(self) -> Addresses:
        """Start or join what is not given by URL; blocks until it answers; raises EmbeddedError.

        Also recovers: a stale lock file, an unfinished first start, servers that outlived a killed service.
        """
        if self._addresses is None:
            if self._database_url and self._redis_url:
                self._addresses = Addresses(self._database_url, self._redis_url)
            else:
                self._addresses = self._join()
        return self._addresses

    def stop(self) -> None:
        """Leave; the last user stops the servers. Safe to call twice, or without a start."""
        self._addresses = None
        self._leaving.set()
        if self._guard is not None:
            self._guard.join()
            self._guard = None
        if self._users is not None:
            with exclusive(self._data_dir):
                self._leave()

    def __enter__(self) -> Addresses:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _join(self) -> Addresses:
        self._leaving.clear()
        with exclusive(self._data_dir):
            self._users = _open(state_folder(self._data_dir) / USERS_FILE)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            try:
                self._start_watcher()  # before there is anything that could be left behind
                layout = self._layout = lay_out(self._data_dir)
                postgres, valkey = Postgres(layout, durable=self._durable), Valkey(layout)
                redis_url, database_url = self._ensure(valkey, postgres)
            except BaseException:
                self._leave()
                raise
        if not self._redis_url:
            self._servers.append(valkey)
        if not self._database_url:
            self._servers.append(postgres)
        self._guard = threading.Thread(target=self._watch, name="embedded-servers", daemon=True)
        self._guard.start()
        return Addresses(database_url, redis_url)

    def _ensure(self, valkey: Valkey, postgres: Postgres) -> tuple[str, str]:
        """The URLs of both, once both answer; they start at the same time."""
        with ThreadPoolExecutor(1, thread_name_prefix="start-valkey") as starting:
            redis_url = None if self._redis_url else starting.submit(valkey.ensure)
            database_url = self._database_url or postgres.ensure()
            return self._redis_url or (redis_url.result() if redis_url else ""), database_url

    def _leave(self) -> None:
        """Give up our share; stop the servers if nobody else has one. The data folder's lock is held."""
        users, self._users, self._servers = self._users, None, []
        if users is None:
            return
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        else:
            if self._layout is not None:
                _stop_all(self._layout)
        finally:
            os.close(users)
            self._end_watcher()

    def _start_watcher(self) -> None:
        # -P: the folder of the script holds modules of common names
        command = [sys.executable, "-P", str(_WATCHER), str(self._data_dir), str(self._linger_s)]
        try:
            with open(state_folder(self._data_dir) / "watcher.log", "ab") as said:
                self._watcher = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,  # else readers of it wait for this process too
                    stderr=said,
                    cwd="/",
                    env=environment(),
                    start_new_session=True,  # where a signal to this process's group does not reach it
                )
        except OSError as error:  # the next user stops what a killed one leaves
            log.warning("the embedded servers have no watcher: %s", error)

    def _end_watcher(self) -> None:
        """Tell the watcher that this process leaves in order."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            with suppress(OSError):
                watcher.communicate(b".")

    def _watch(self) -> None:
        """Start a server again that died under us, with a growing pause while that fails."""
        pause = GUARD_SECONDS
        while not self._leaving.wait(pause):
            if self._watcher is not None and self._watcher.poll() is not None:
                self._start_watcher()
            if all(server.running() for server in self._servers):
                pause = GUARD_SECONDS
                continue
            try:
                with exclusive(self._data_dir):
                    for server in self._servers:
                        if not self._leaving.is_set() and not server.running():
                            server.ensure()
                            log.warning(
                                "the embedded %s had ended and was started again", type(server).__name__
                            )
            except Exception as error:  # whatever it is, the guard must outlive it
                pause = min(2 * pause, GUARD_PAUSE_SECONDS)
                log.error("an embedded server ended and could not be started again: %s", error)


def stop_unused(data_dir: Path) -> None:
    """Stop the servers of `data_dir` unless a process uses them; makes no folder where none is left.

    Raises EmbeddedError.
    """
    if not (data_dir / STATE_FOLDER / USERS_FILE).exists():
        return
    with exclusive(data_dir):
        users = _open(state_folder(data_dir) / USERS_FILE)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _stop_all(lay_out(data_dir))
        except BlockingIOError:
            return
        finally:
            os.close(users)


def purge(data_dir: Path) -> None:
    """Stop the servers of `data_dir` and remove all they keep, databases too; BusyError while in use."""
    data_dir = data_dir.expanduser().resolve()
    with exclusive(data_dir):
        users = _open(state_folder(data_dir) / USERS_FILE)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _stop_all(lay_out(data_dir))
            forget(data_dir)
        except BlockingIOError:
            raise BusyError(f"Another process uses {data_dir}.") from None
        finally:
            os.close(users)


@contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Let one process at a time start or stop the servers of `data_dir`; raises BusyError after LOCK_SECONDS."""
    handle = _open(state_folder(data_dir) / "lock")
    deadline = time.monotonic() + LOCK_SECONDS
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BusyError(f"Another process is still starting or stopping in {data_dir}.") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def _stop_all(layout: Layout) -> None:
    """Stop both, even where one of them was given by URL to us: a killed service may have left it."""
    problems = []
    for server in (Valkey(layout), Postgres(layout)):
        try:
            server.stop()
        except EmbeddedError as error:
            problems.append(error)
    if problems:
        raise problems[0]


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
