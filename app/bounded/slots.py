"""How many of something run at the same time: in this process, or in all processes of one service."""

from __future__ import annotations

import fcntl
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import OverloadedError

TICK_SECONDS = 0.02
RETRY_AFTER_SECONDS = 5
_folder: Path | None = None


def share(folder: Path) -> None:
    """From now on count with every process that shares `folder`; what a killed one had taken is free again."""
    global _folder
    _folder = folder


class Slots:
    """Taken and given back; thread-safe."""

    def __init__(self, name: str) -> None:
        """`name` is the same in every process that shares them, and plain."""
        self._name = name
        self._taken = 0
        self._changing = threading.Lock()

    def take(self, most: int) -> Callable[[], None] | None:
        """Take one where fewer than `most` are taken: what gives it back, to be called once; else None."""
        if _folder is not None:
            return self._take_lock(_folder, most)
        with self._changing:
            if self._taken >= most:
                return None
            self._taken += 1
        return self._give_back

    @contextmanager
    def hold(
        self, most: int, *, deadline: float = math.inf, gone: threading.Event | None = None
    ) -> Iterator[None]:
        """One of them for a block, waited for. Blocks.

        Raises OverloadedError at the `deadline`, a moment of `time.monotonic()`, and once `gone` is set.
        """
        while (is_gone := gone is not None and gone.is_set()) or (give_back := self.take(most)) is None:
            if is_gone or time.monotonic() > deadline:
                raise OverloadedError(retry_after_s=RETRY_AFTER_SECONDS)
            time.sleep(TICK_SECONDS)
        try:
            yield
        finally:
            give_back()

    def _give_back(self) -> None:
        with self._changing:
            self._taken -= 1

    def _take_lock(self, folder: Path, most: int) -> Callable[[], None] | None:
        """A lock of one of `most` files, which ends with this process at the latest."""
        for number in range(most):
            handle = os.open(folder / f"{self._name}-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
            else:
                return lambda: os.close(handle)
        return None
