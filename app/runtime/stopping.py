"""What signals ask a service for: to stop in order, or at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

FORCED = 130
"""Exit code of a service that was not given the time to end."""


class StoppedError(Exception):
    """The service was asked to stop before it had started."""


class Stoppable(Protocol):
    """What looks at these two, as a uvicorn server does."""

    should_exit: bool
    force_exit: bool


class Stop:
    """What signals ask for: the first to stop in order, a second Ctrl-C to stop at once."""

    def __init__(self) -> None:
        self.asked = False
        self.server: Stoppable | None = None
        self.hurry: Callable[[], None] | None = None
        """Called in a thread of its own when there is no time for anything in order."""

    def check(self) -> None:
        """Raise StoppedError between two steps of the start once asked to stop."""
        if self.asked:
            raise StoppedError

    @contextmanager
    def handlers(self) -> Iterator[None]:
        """Listen to signals for a block; only the main thread can, elsewhere nothing is changed."""
        before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:  # such as SIGHUP under nohup
                    before[number] = signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            if self.server is not None:
                self.server.should_exit = True
        elif number == signal.SIGINT:
            if self.server is None:
                raise KeyboardInterrupt
            self.server.force_exit = True
            if self.hurry is not None:
                # the thread that is interrupted here may hold what this needs
                threading.Thread(target=self.hurry, name="hurry", daemon=True).start()
