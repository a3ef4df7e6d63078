"""What a parent tells its children in confidence, and how they notice that it is gone.

The first line of a child's standard input is JSON; the input's end is the parent's. What a child tells goes through a
pipe of its own, a line of JSON at a time.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from app.embedded import Addresses
from app.settings import Settings

_CONFIDENTIAL = frozenset(
    f"VISION_{name}" for name in ("DATABASE_URL", "REDIS_URL", "API_KEY", "SECRET", "REMOTE_API_KEY")
)
"""Variables that no child inherits: what they need of them they are told."""


def public_environment() -> dict[str, str]:
    """This process's without what nobody may read in `/proc`."""
    return {name: value for name, value in os.environ.items() if name not in _CONFIDENTIAL}


def write_settings(settings: Settings, addresses: Addresses) -> dict[str, Any]:
    """What of `settings` is no default, with the addresses of the databases and every secret, as JSON takes it."""
    told: dict[str, Any] = {"database_url": addresses.database_url, "redis_url": addresses.redis_url}
    for name, value in settings.explicit_values.items():
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        told.setdefault(name, str(value) if isinstance(value, Path) else value)
    return told


def read_told() -> dict[str, Any]:
    """In a child: what its parent tells it first; from then on this process ends at once when the parent does."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as lifeline:
        told: dict[str, Any] = json.loads(lifeline.readline())
    watch_parent(lambda: os._exit(1))
    return told


def watch_parent(gone: Callable[[], object]) -> None:
    """Call `gone` in a thread when standard input ends."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        gone()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


class Reporter:
    """A child's end of the pipe to its parent."""

    def __init__(self, handle: int) -> None:
        """`handle` is the file descriptor that the parent named."""
        os.set_inheritable(handle, False)
        self._handle = handle

    def tell(self, **news: Any) -> None:
        """One line; a parent that is gone hears nothing."""
        with suppress(OSError):
            os.write(self._handle, json.dumps(news).encode() + b"\n")


def hear(handle: int) -> Iterator[dict[str, Any]]:
    """In the parent: what a child tells, until it has ended; closes `handle`."""
    with open(handle, "rb") as file:
        for line in file:
            with suppress(ValueError):  # a child that was killed in the middle of a line
                yield json.loads(line)
