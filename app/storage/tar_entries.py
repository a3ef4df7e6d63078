"""Entries of a tar, plain or compressed, read as a stream: header records and all that is unfolded are bounded first.

`tarfile` reads the records of pax and GNU long names whole, whatever size they state, and passes over what lies
between two entries without counting it.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from app.storage.archive_entries import MIB, NO_ARCHIVE, ArchiveLimits, Entry, shorten_name
from app.storage.archive_names import NameReader
from app.storage.errors import ArchiveError
from app.storage.unfolding import Unfolding, find_compression

MAX_HEADER_RECORD_BYTES = 256 << 10
"""Names and extended attributes of one entry; a name may have 1,000 characters."""
MAX_GLOBAL_HEADERS = 16
_WINDOW_BYTES = 1 << 18
_MAGIC_BYTES = 8
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


def read_tar(archive: Path, limits: ArchiveLimits, remarks: list[str]) -> Iterator[Entry]:
    """Every entry, each to be read before the next one is asked for; what is guessed of their names is added to
    `remarks`.

    Raises ArchiveError, ArchiveTooLargeError; whatever else the libraries raise means a damaged archive.
    """
    reader: NameReader | None = None
    with _open_tar(archive, limits) as opened:
        for about in _read_headers(opened):

            def start(about: tarfile.TarInfo = about) -> IO[bytes]:
                found = opened.extractfile(about)
                if found is None:
                    raise ArchiveError(f"'{shorten_name(about.name)}' is no file.")
                return found

            name = about.name
            raw = _find_unstated_name(about)
            if reader is None and raw is not None and _is_doubtful(name):
                reader = _survey(archive, limits)
                if reader.encoding != "utf-8":
                    remarks.append(reader.remark)
            if reader is not None and raw is not None:
                name = reader.read(raw)
            is_plain = about.isreg() and not about.issparse()
            yield Entry(name, is_plain, about.isdir(), start)


@contextmanager
def _open_tar(archive: Path, limits: ArchiveLimits) -> Iterator[_BoundedTarFile]:
    # what is unfolded holds headers too: small ones for each entry, at least one
    max_bytes = limits.max_bytes(archive.stat().st_size) + MIB
    with archive.open("rb") as file:
        compression = find_compression(file.read(_MAGIC_BYTES))
        file.seek(0)
        stream = cast(Any, Unfolding(file, max_bytes, compression))
        with _BoundedTarFile.open(
            fileobj=stream, mode="r|", bufsize=_WINDOW_BYTES, encoding="utf-8", errors="surrogateescape"
        ) as opened:
            yield opened


def _read_headers(opened: _BoundedTarFile) -> Iterator[tarfile.TarInfo]:
    for about in opened:
        opened.members = []  # a stream needs none, and a million take gigabytes
        yield about


def _survey(archive: Path, limits: ArchiveLimits) -> NameReader:
    """Look at all names before the rest is unpacked, which reads the archive twice: few archives need it."""

    def raw_names() -> Iterator[bytes]:
        with _open_tar(archive, limits) as opened:
            for number, about in enumerate(_read_headers(opened), 1):
                limits.check_entries(number)
                if (raw := _find_unstated_name(about)) is not None:
                    yield raw

    return NameReader(raw_names())


def _find_unstated_name(about: tarfile.TarInfo) -> bytes | None:
    """The bytes of a name in no stated encoding; None for ASCII, and for pax records unless they say otherwise."""
    is_stated = "path" in about.pax_headers and about.pax_headers.get("hdrcharset") != "BINARY"
    if about.name.isascii() or is_stated:
        return None
    return about.name.encode("utf-8", "surrogateescape")


def _is_doubtful(name: str) -> bool:
    """Whether it is not UTF-8, or may be by chance: pairs of bytes are easily, longer sequences are not."""
    characters = {character for character in name if not character.isascii()}
    return not name.isprintable() or max(characters) < "\u0800"


def check_tar(head: bytes) -> None:
    """Raise ArchiveError unless the first 512 bytes of a tar are a header."""
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        raise ArchiveError(NO_ARCHIVE) from None
