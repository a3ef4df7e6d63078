"""What is in a compressed stream, piece by piece: gzip, bzip2 and xz, with a bound on all that they unfold to."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any

from app.storage.archive_entries import MIB, refuse_bomb

_READ_BYTES = 1 << 16
_GZIP_BITS = 16 + zlib.MAX_WBITS
MAX_XZ_MEMORY_BYTES = 256 * MIB
"""What unfolding an xz may take; `xz -9` needs 65 MiB."""


def _open_gzip() -> Any:
    return zlib.decompressobj(_GZIP_BITS)


def _open_xz() -> Any:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY_BYTES)


COMPRESSIONS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": _open_gzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": _open_xz,
}
"""What each kind of stream begins with, and what unfolds it."""


def find_compression(head: bytes) -> Callable[[], Any] | None:
    """What unfolds a file with this beginning; None where it is not compressed."""
    return next((start for magic, start in COMPRESSIONS.items() if head.startswith(magic)), None)


class Unfolding:
    """The stream that a file holds once it is unfolded, at most `max_bytes` bytes of it."""

    def __init__(self, file: IO[bytes], max_bytes: int, start: Callable[[], Any] | None) -> None:
        """`start` makes what unfolds one member; None reads the file as it is."""
        self._file = file
        self._left = max_bytes
        self._start = start
        self._unfolder: Any = None if start is None else start()
        self._waiting = b""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer at the end alone; raises ArchiveTooLargeError beyond the bound."""
        data = self._file.read(size) if self._start is None else self._unfold(self._start, size)
        self._left -= len(data)
        if self._left < 0:
            raise refuse_bomb()
        return data

    def _unfold(self, start: Callable[[], Any], size: int) -> bytes:
        pieces: list[bytes] = []
        while size > 0:
            if self._unfolder.eof:  # of this member; another may follow, after zeros
                self._waiting = self._unfolder.unused_data.lstrip(b"\0") or self._file.read(_READ_BYTES)
                if not self._waiting.lstrip(b"\0"):
                    break
                self._unfolder = start()
            packed = b"" if self._holds_input() else self._waiting or self._file.read(_READ_BYTES)
            if not packed and not self._holds_input():
                raise EOFError("the compressed stream ends too early")
            piece = self._unfolder.decompress(packed, size)
            # zlib hands back what it did not take; the others keep it
            self._waiting = getattr(self._unfolder, "unconsumed_tail", b"")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _holds_input(self) -> bool:
        return not getattr(self._unfolder, "needs_input", True)
