"""Entries of a tar or tar.gz, read as a stream: header records and everything that is unfolded are bounded first.

`tarfile` reads the records of pax and GNU long names whole, whatever size they state, and passes over what lies
between two entries without counting it.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from app.storage.archive_entries import MIB, ArchiveLimits, Entry, refuse_bomb, shown
from app.storage.errors import ArchiveError

MAX_HEADER_RECORD_BYTES = 256 << 10
"""Names and extended attributes of one entry; a name may have 1,000 characters."""
MAX_GLOBAL_HEADERS = 16
_READ_BYTES = 1 << 16
_WINDOW_BYTES = 1 << 18
_GZIP_BITS = 16 + zlib.MAX_WBITS
_RECORDS = frozenset(
    {
        *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
        *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    }
)
_SPARSE = "The archive holds a sparse file: archives may hold plain files only."


class _BoundedTarInfo(tarfile.TarInfo):
    """A header that is looked at before what it asks for is read."""

    def _proc_member(self, archive: Any) -> Any:
        if self.type in _RECORDS and self.size > MAX_HEADER_RECORD_BYTES:
            raise ArchiveError("A header record of the archive is larger than any name needs.")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise ArchiveError(_SPARSE)
        if self.type == tarfile.XGLTYPE:
            archive.global_headers += 1
            if archive.global_headers > MAX_GLOBAL_HEADERS:
                raise ArchiveError("The archive holds too many global headers.")
        return super()._proc_member(archive)  # type: ignore[misc]

    def _proc_gnusparse_00(self, *_: Any) -> None:
        raise ArchiveError(_SPARSE)

    _proc_gnusparse_01 = _proc_gnusparse_10 = _proc_gnusparse_00


class _BoundedTarFile(tarfile.TarFile):
    tarinfo = _BoundedTarInfo
    global_headers = 0
    members: list[tarfile.TarInfo]


class _Counted:
    """What is left of an archive once it is unfolded, at most `most` bytes of it."""

    def __init__(self, file: IO[bytes], most: int, *, is_gzip: bool) -> None:
        self._file = file
        self._left = most
        self._inflate = zlib.decompressobj(_GZIP_BITS) if is_gzip else None
        self._waiting = b""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer at the end alone; raises ArchiveTooLargeError beyond the bound."""
        data = self._file.read(size) if self._inflate is None else self._unfold(size)
        self._left -= len(data)
        if self._left < 0:
            raise refuse_bomb()
        return data

    def _unfold(self, size: int) -> bytes:
        pieces: list[bytes] = []
        inflate = cast(Any, self._inflate)
        while size > 0:
            if inflate.eof:  # of this member; another may follow
                self._waiting = inflate.unused_data.lstrip(b"\0") or self._file.read(_READ_BYTES)
                if not self._waiting.lstrip(b"\0"):
                    break
                inflate = self._inflate = zlib.decompressobj(_GZIP_BITS)
            packed = self._waiting or self._file.read(_READ_BYTES)
            if not packed:
                raise EOFError("the gzip stream ends too early")
            piece = inflate.decompress(packed, size)
            self._waiting = inflate.unconsumed_tail
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def read_tar(archive: Path, limits: ArchiveLimits, *, is_gzip: bool) -> Iterator[Entry]:
    """Every entry, each to be read before the next one is asked for.

    Raises ArchiveError, ArchiveTooLargeError; whatever else tarfile and zlib raise means a damaged archive.
    """
    # what is unfolded holds headers too: small ones for each entry, at least one
    most = limits.max_bytes(archive.stat().st_size) + MIB
    with archive.open("rb") as file:
        stream = _Counted(file, most, is_gzip=is_gzip)
        with _BoundedTarFile.open(fileobj=cast(Any, stream), mode="r|", bufsize=_WINDOW_BYTES) as opened:
            for about in opened:
                opened.members = []  # a stream needs none, and a million take gigabytes

                def start(about: tarfile.TarInfo = about) -> IO[bytes]:
                    found = opened.extractfile(about)
                    if found is None:
                        raise ArchiveError(f"'{shown(about.name)}' is no file.")
                    return found

                is_plain = about.isreg() and not about.issparse()
                yield Entry(about.name, is_plain, about.isdir(), start)


def check_tar(head: bytes) -> None:
    """Raise ArchiveError unless the first 512 bytes of a tar are a header."""
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        raise ArchiveError("This is not a whole zip, tar or tar.gz archive.") from None
