"""How far a command is, said where no bar can be drawn: a line every so often while standard error goes to a file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from app.cli import output
from app.cli.options import load_settings


class ProgressLines:
    """While the block runs, says every `VISION_PROGRESS_LINE_S` seconds how long it has taken and what `line` returns;
    nothing on a terminal, where a bar shows it, or with `off`.
    """

    def __init__(self, line: Callable[[], str], *, off: bool = False) -> None:
        self._line = line
        self._off = off or output.err.is_terminal
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> ProgressLines:
        if not self._off:
            pause_s = load_settings().logs.progress_line_s
            self._thread = threading.Thread(target=self._run, args=(pause_s,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, pause_s: float) -> None:
        began = time.monotonic()
        while not self._ended.wait(pause_s):
            output.say(f"{format_span(time.monotonic() - began)}: {self._line()}")


def format_span(seconds: float) -> str:
    """4 s, 1:05 or 2:01:05."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    if hours:
        return f"{hours}:{rest // 60:02}:{rest % 60:02}"
    return f"{rest // 60}:{rest % 60:02}" if rest >= 60 else f"{rest} s"
