"""Whole lines out of pipes that are read without waiting."""

from __future__ import annotations

import contextlib
import os

MAX_LINE_BYTES = 2_000
"""Bytes of a printed line that are kept."""
_PIECE_BYTES = 1 << 16
_MAX_PIECES = 64
"""Taken at a look: a process that never pauses must not hold up who looks."""


class Lines:
    """One pipe's lines; what was read of a line that has not ended waits for its end."""

    def __init__(self, handle: int, *, printed: bool = False) -> None:
        """`handle` does not block. Of what is `printed`, the end of a line that is long or written over is kept."""
        self._handle = handle
        self._printed = printed
        self._rest = b""

    def read(self) -> list[bytes]:
        """The lines that have ended since, without their ends."""
        pieces = [self._rest]
        with contextlib.suppress(BlockingIOError):
            for _ in range(_MAX_PIECES):
                if not (piece := os.read(self._handle, _PIECE_BYTES)):
                    break
                pieces.append(piece)
        *whole, self._rest = b"".join(pieces).split(b"\n")
        if self._printed:
            self._rest = self._rest[-MAX_LINE_BYTES:]
            return [line.rstrip().rpartition(b"\r")[-1][:MAX_LINE_BYTES] for line in whole]
        return whole
