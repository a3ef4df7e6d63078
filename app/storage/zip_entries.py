"""Entries of a zip, read one by one: the directory is bounded before it is read and never held whole.

`zipfile.ZipFile` keeps an object for each entry that the directory names: two million of them, in 100 MB of
archive, take gigabytes and most of a minute. Layout: APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from app.storage.archive_entries import NO_ARCHIVE, ArchiveLimits, Entry
from app.storage.archive_names import NameReader
from app.storage.errors import ArchiveError

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_COMMENT_BYTES = 0xFFFF
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
"""The number stands in the zip64 record instead."""
_ENCRYPTED, _UTF8 = 0x1, 0x800
_UNICODE_PATH = 0x7075
"""Info-ZIP's extra field of the name in UTF-8 (APPNOTE.TXT 4.6.9)."""
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})


@dataclass(frozen=True)
class _Directory:
    start: int
    size: int
    count: int


@dataclass(frozen=True)
class _Central:
    """An entry of the directory; `about` lacks its name."""

    raw_name: bytes
    name: str | None
    """None where the archive does not say how it is written."""
    about: zipfile.ZipInfo


def read_zip(archive: Path, limits: ArchiveLimits, remarks: list[str]) -> Iterator[Entry]:
    """Every entry in the order of the directory; what is guessed of their names is added to `remarks`.

    Raises ArchiveError for what is damaged, encrypted or lies over one another, ArchiveTooLargeError for too many.
    """
    size = archive.stat().st_size
    with archive.open("rb") as directory_file, archive.open("rb") as data_file:
        directory = check_zip(directory_file, size, limits)
        reader = NameReader(
            entry.raw_name
            for entry in _read_directory(directory_file, directory, limits)
            if entry.name is None
        )
        if reader.count:
            remarks.append(reader.remark)
        packed = 0
        for entry in _read_directory(directory_file, directory, limits):
            about = entry.about
            # entries that share their bytes add up to more than the archive holds
            packed += about.compress_size + _LOCAL.size
            if packed > size:
                raise ArchiveError("Entries of the archive lie over one another.")
            name = reader.read(entry.raw_name) if entry.name is None else entry.name
            # after decoding: half of a Shift-JIS character may be the byte of a backslash
            is_folder = name.endswith("/") or (name.endswith("\\") and not about.file_size)
            kind = about.external_attr >> 16 & 0o170000
            is_plain = kind in (0, 0o100000) and not is_folder
            yield Entry(name, is_plain, is_folder, partial(_open, data_file, about))


def _read_directory(file: IO[bytes], directory: _Directory, limits: ArchiveLimits) -> Iterator[_Central]:
    """Every entry as the directory names it."""
    file.seek(directory.start)
    end = directory.start + directory.size
    count = 0
    while file.tell() < end:
        count += 1
        limits.check_entries(count)
        yield _read_central(file)
    if count != directory.count or file.tell() != end:
        raise ArchiveError("The archive's directory does not hold what it says.")


def check_zip(file: IO[bytes], size: int, limits: ArchiveLimits) -> _Directory:
    """Find the directory, reading the last 64 KiB alone; `size` is the archive's, in bytes.

    Raises ArchiveError where there is none, ArchiveTooLargeError where it names too many entries.
    """
    tail_start = max(0, size - _END.size - _MAX_COMMENT_BYTES)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise ArchiveError(NO_ARCHIVE)
    _, disk, first_disk, _, count, directory_size, start, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    if count == _FULL_16 or directory_size == _FULL_32 or start == _FULL_32:
        locator = end - _LOCATOR.size
        if locator >= 0:
            file.seek(locator)
            magic, _, end64, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
            if magic == b"PK\x06\x07" and end64 + _END64.size <= locator:
                file.seek(end64)
                found = _END64.unpack(file.read(_END64.size))
                if found[0] != b"PK\x06\x06":
                    raise ArchiveError("The archive's directory is damaged.")
                count, directory_size, start = found[7:]
                end = end64
    if disk != first_disk:
        raise ArchiveError("Archives in several parts are not accepted.")
    limits.check_entries(count)
    if start + directory_size > end or directory_size < count * _CENTRAL.size:
        raise ArchiveError("The archive's directory is damaged.")
    return _Directory(start, directory_size, count)


def _read_central(file: IO[bytes]) -> _Central:
    head = file.read(_CENTRAL.size)
    if len(head) < _CENTRAL.size or head[:4] != b"PK\x01\x02":
        raise ArchiveError("The archive's directory is damaged.")
    fields = _CENTRAL.unpack(head)
    flags, method, crc, packed, unpacked, name_size, extra_size, comment_size = (
        *fields[3:5],
        *fields[7:13],
    )
    raw_name = file.read(name_size)
    extra = file.read(extra_size)
    file.seek(comment_size, 1)
    if flags & _ENCRYPTED:
        raise ArchiveError("The archive is encrypted.")
    if method not in _METHODS:
        raise ArchiveError("The archive is compressed in a way that is not read: use deflate.")
    if b"\0" in raw_name:
        raise ArchiveError("The archive holds a name with a NUL character.")
    about = zipfile.ZipInfo()
    about.flag_bits, about.compress_type, about.CRC = flags, method, crc
    about.external_attr = fields[15]
    sizes = [unpacked, packed, fields[16]]
    about.file_size, about.compress_size, about.header_offset = _widen(sizes, extra)
    return _Central(raw_name, _read_stated_name(raw_name, flags, extra), about)


def _read_stated_name(raw_name: bytes, flags: int, extra: bytes) -> str | None:
    """The name where the archive says how it is written, or nobody needs to."""
    if raw_name.isascii():
        return raw_name.decode("ascii")
    field = _find_extra(extra, _UNICODE_PATH)
    is_current = field[:1] == b"\1" and field[1:5] == zlib.crc32(raw_name).to_bytes(4, "little")
    stated = field[5:] if is_current else raw_name if flags & _UTF8 else None
    if stated is None:
        return None
    try:
        return stated.decode()
    except UnicodeDecodeError:  # the flag is wrong
        return None


def _find_extra(extra: bytes, wanted: int) -> bytes:
    """The extra field of that kind; empty where there is none."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == wanted:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def _widen(sizes: list[int], extra: bytes) -> list[int]:
    """Sizes and offset with those that stand in the zip64 extra field filled in, in the order that it has them."""
    if _FULL_32 not in sizes:
        return sizes
    field = _find_extra(extra, 1)
    wide = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
    return [next(wide, value) if value == _FULL_32 else value for value in sizes]


def _open(file: IO[bytes], about: zipfile.ZipInfo) -> IO[bytes]:
    file.seek(about.header_offset)
    head = file.read(_LOCAL.size)
    if len(head) < _LOCAL.size or head[:4] != b"PK\x03\x04":
        raise ArchiveError("The archive is damaged.")
    *_, name_size, extra_size = _LOCAL.unpack(head)
    file.seek(name_size + extra_size, 1)
    # the reader seeks nowhere, and one entry is read at a time
    return cast(IO[bytes], zipfile.ZipExtFile(file, "r", about, pwd=None, close_fileobj=False))
