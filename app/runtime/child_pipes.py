"""The pipes between a parent and its child processes: configuration with secrets one way, reports the other.

The first line of a child's standard input is its configuration as JSON; when the input ends, the parent has ended. A
child reports through a pipe of its own, a line of JSON at a time.
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
"""Variables that no child inherits, since `/proc` shows them: its configuration brings what it needs of them."""


def public_environment() -> dict[str, str]:
    """The environment of this process without secrets, which `/proc` would show."""
    return {name: value for name, value in os.environ.items() if name not in _CONFIDENTIAL}


def write_settings(settings: Settings, addresses: Addresses | None) -> dict[str, Any]:
    """What of `settings` is no default, with the addresses of the databases and every secret, as JSON takes it."""
    values: dict[str, Any] = {}
    if addresses is not None:
        values = {"database_url": addresses.database_url, "redis_url": addresses.redis_url}
    for name, value in settings.explicit_values.items():
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        values.setdefault(name, str(value) if isinstance(value, Path) else value)
    return values


def read_launch_config() -> dict[str, Any]:
    """In a child: the configuration from its parent; from then on this process ends at once when the parent does."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as lifeline:
        launch_config: dict[str, Any] = json.loads(lifeline.readline())
    watch_parent(lambda: os._exit(1))
    return launch_config


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

    def send(self, **news: Any) -> None:
        """One line; a parent that is gone hears nothing."""
        with suppress(OSError):
            os.write(self._handle, json.dumps(news).encode() + b"\n")


def read_messages(handle: int) -> Iterator[dict[str, Any]]:
    """In the parent: the messages of a child, until it has ended; closes `handle`."""
    with open(handle, "rb") as file:
        for line in file:
            with suppress(ValueError):  # a child that was killed in the middle of a line
                yield json.loads(line)
