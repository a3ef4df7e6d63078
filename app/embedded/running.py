"""Which service serves a data folder: `server.json` in it, written while one listens."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from contextlib import suppress
from pathlib import Path

from app import __version__

NOTE = "server.json"
NOTE_LOCK = "server.lock"
"""Held by the service whose address the note has; goes with it, however it ends."""
ANSWER_SECONDS = 10.0
"""A service that lives and is only busy is waited for: whoever gives it up starts a second one."""
TAKE_OVER_SECONDS = 2.0
"""Seconds between two checks whether the service that has the note is gone."""


class Announcement:
    """This service's address in the note of its data folder, while no other service there has announced itself.

    Of several services on one data folder the first has the note; when it ends, another takes its place.
    """

    def __init__(self, data_dir: Path, url: str) -> None:
        """Nothing is written before `announce`."""
        self._data_dir = data_dir
        self._url = url
        self._lock: int | None = None
        self._changing = threading.Lock()
        self._withdrawn = threading.Event()

    def announce(self) -> bool:
        """Note the address now, or once the service that has the note is gone; whether it was now.

        Raises OSError where the data folder cannot be written.
        """
        if self._try():
            return True
        threading.Thread(target=self._wait, name="announcement", daemon=True).start()
        return False

    def withdraw(self) -> None:
        """Remove the note where it is this service's. Safe to call twice, from any thread."""
        self._withdrawn.set()
        with self._changing:
            if self._lock is not None:
                with suppress(OSError):
                    (self._data_dir / NOTE).unlink()
                os.close(self._lock)
                self._lock = None

    def _try(self) -> bool:
        """Write the note, unless another service has it or this one was withdrawn."""
        from app.embedded.folders import write_private

        with self._changing:
            if self._withdrawn.is_set():
                return False
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            lock = os.open(self._data_dir / NOTE_LOCK, flags, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # a service of an earlier version holds no lock
                if running_server(self._data_dir, besides=self._url) is not None:
                    raise BlockingIOError
                note = {"url": self._url, "pid": os.getpid(), "version": __version__}
                write_private(self._data_dir / NOTE, json.dumps(note) + "\n")
            except BlockingIOError:
                os.close(lock)
                return False
            except BaseException:
                os.close(lock)
                raise
            self._lock = lock
            return True

    def _wait(self) -> None:
        while not self._withdrawn.wait(TAKE_OVER_SECONDS):
            with suppress(OSError):  # such as a full disk: it is tried again
                if self._try():
                    return


def running_server(data_dir: Path, besides: str | None = None) -> str | None:
    """Address of the service that serves `data_dir` right now: its process lives and answers; else None.

    One at the address `besides` is not asked: a killed service's number may be this one's, and its address too.
    """
    import httpx

    try:
        note = json.loads((data_dir.expanduser() / NOTE).read_text(encoding="utf-8"))
        url, pid = str(note["url"]), int(note["pid"])
        if url == besides:
            return None
        os.kill(pid, 0)
    except PermissionError:
        pass  # it lives, under another user
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    try:
        reply = httpx.get(f"{url}/healthz", timeout=ANSWER_SECONDS, trust_env=False)
        ours = reply.is_success and reply.json().get("service") == "llamafarm-vision"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, AttributeError):
        return None
    return url if ours else None
