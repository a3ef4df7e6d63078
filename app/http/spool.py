"""Where uploads lie between the wire and the decoder: small ones in memory, large ones in a temporary folder."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from app.http.errors import TooManyUploadsError
from app.storage import disk
from app.storage.tallies import Tallies, Tally

IN_MEMORY_BYTES = 1024 * 1024
_STALE_SECONDS = 3600
_ROOM_CHECK_BYTES = 8 << 20
"""As for archives (`app.storage.archives`)."""


class Spool:
    """The uploads one process holds at this moment, within what all of its service may hold."""

    def __init__(self, folder: Path, max_bytes: int, min_free_mb: int = 0, held: Tally | None = None) -> None:
        """`folder` is made where it is missing, and rid of what a killed process may have left behind.

        `held` counts the bytes of every process of the service.
        """
        self._held = held or Tallies.alone().get("spool_bytes")
        self._folder = folder
        self._max_bytes = max_bytes
        self.min_free_mb = min_free_mb
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in folder.iterdir():
            if left.is_file() and time.time() - left.stat().st_mtime > _STALE_SECONDS:
                left.unlink(missing_ok=True)

    @property
    def held(self) -> int:
        """Bytes that this process holds."""
        return self._held.own

    def open(self) -> Entry:
        """An empty entry; the caller closes it."""
        return Entry(self, self._folder)

    def take(self, size: int) -> None:
        """Count `size` more bytes; raises `OverloadedError` where that is more than the service may hold."""
        if self._held.total + size > self._max_bytes:
            raise TooManyUploadsError()
        self._held.add(size)

    def give_back(self, size: int) -> None:
        """Count `size` bytes less."""
        self._held.add(-size)


class Entry:
    """One part of an upload; writes go to the page cache, so they need no thread."""

    def __init__(self, spool: Spool, folder: Path) -> None:
        self.size = 0
        self._spool = spool
        self._folder = folder
        self._memory = bytearray()
        self._unchecked = 0
        """Bytes since the disk was last looked at."""
        self._file: IO[bytes] | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`; raises TooManyUploadsError when the spool is full, and where its disk is, or fails,
        InsufficientStorageError, TooManyOpenFilesError or StoreUnavailableError.
        """
        self._spool.take(len(data))
        self.size += len(data)
        with disk.naming_faults(self._folder, "uploads"):
            if self._file is None and self.size > IN_MEMORY_BYTES:
                disk.check_room(self._folder, self._spool.min_free_mb, what="uploads")
                # it has no name, so not even a killed process leaves it behind
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by close()
                self._file.write(self._memory)
                self._memory = bytearray()
            if self._file is None:
                self._memory += data
                return
            self._unchecked += len(data)
            if self._unchecked >= _ROOM_CHECK_BYTES:
                disk.check_room(self._folder, self._spool.min_free_mb, what="uploads")
                self._unchecked = 0
            self._file.write(data)

    def keep(self) -> Entry:
        """The same bytes as an entry of its own, which outlives this one and is counted besides; nothing is copied.

        Raises what `write` raises. Neither of the two is written to afterwards.
        """
        kept = Entry(self._spool, self._folder)
        with disk.naming_faults(self._folder, "uploads"):
            if self._file is not None:
                self._file.flush()
                kept._file = os.fdopen(os.dup(self._file.fileno()), "r+b")
        kept._memory = self._memory
        try:
            self._spool.take(self.size)
        except TooManyUploadsError:
            kept.close()
            raise
        kept.size = self.size
        return kept

    def read(self) -> bytes:
        """All of it; may block for a large part, so call it where blocking is allowed."""
        if self._file is None:
            return bytes(self._memory)
        with disk.naming_faults(self._folder, "uploads"):
            self._file.seek(0)  # writes what is still buffered
            return self._file.read()

    def head(self, size: int) -> bytes:
        """Its first bytes, at most `IN_MEMORY_BYTES` of them; blocks for no longer than the page cache takes."""
        if self._file is None:
            return bytes(self._memory[:size])
        with disk.naming_faults(self._folder, "uploads"):
            self._file.seek(0)
            return self._file.read(size)

    def close(self) -> None:
        """Forget the bytes; safe to call again."""
        self._spool.give_back(self.size)
        self.size = 0
        self._memory = bytearray()
        if self._file is not None:
            with suppress(
                OSError
            ):  # a full disk refuses what was still buffered, which nobody wants any more
                self._file.close()
            self._file = None
