"""Archives that strangers send: zip, tar and tar.gz, unpacked without leaving the folder or filling the disk.

Knows entries and their limits; knows nothing of what the files mean. The bytes decide which kind it is, never a
name.
"""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from app.errors import ArchiveError, ArchiveTooLargeError, OverloadedError
from app.settings import Settings

_CHUNK = 1 << 20
_MIB = 1 << 20
_FREE_RATIO_BYTES = 100 * _MIB
"""Up to here the ratio does not matter: small archives of text compress very well."""
_LONGEST_PATH = 1_000
_DEEPEST = 32
_ROOM = 1 << 30
"""Bytes of the disk that unpacking leaves free."""


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold."""

    entries: int
    ratio: int
    """Unpacked bytes over packed ones."""
    unpacked_bytes: int

    @classmethod
    def from_settings(cls, settings: Settings) -> ArchiveLimits:
        """`max_archive_entries`, `max_archive_ratio`, `max_unpacked_mb`."""
        return cls(settings.max_archive_entries, settings.max_archive_ratio, settings.max_unpacked_mb * _MIB)


@dataclass(frozen=True)
class _Entry:
    name: str
    plain: bool
    """A regular file: no folder, link, device or socket."""
    folder: bool
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, settings: Settings, *, limits: ArchiveLimits | None = None) -> int:
    """Unpack into the new `folder`; how many files there were.

    Raises ArchiveError for what is no archive, is damaged or encrypted, holds links, devices, or names that are
    absolute, lead out of the folder or come twice; ArchiveTooLargeError for too many entries, too large a total or
    ratio; OverloadedError where the disk has no room. The folder is removed again then.
    """
    limits = limits or ArchiveLimits.from_settings(settings)
    folder.mkdir(parents=True)
    try:
        return _unpack(archive, folder, limits)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _unpack(archive: Path, folder: Path, limits: ArchiveLimits) -> int:
    packed = archive.stat().st_size
    most = min(limits.unpacked_bytes, max(packed * limits.ratio, _FREE_RATIO_BYTES))
    files = total = 0
    with _damage():
        for number, entry in enumerate(_entries(archive, limits), 1):
            if number > limits.entries:
                raise ArchiveTooLargeError(f"The archive holds more than {limits.entries} entries.")
            if entry.folder:
                _checked(entry.name)
                continue
            if not entry.plain:
                raise ArchiveError(
                    f"'{_shown(entry.name)}' is a link or a device: archives may hold files only."
                )
            target = folder / _checked(entry.name)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            except (FileExistsError, IsADirectoryError, NotADirectoryError):
                raise ArchiveError(f"'{_shown(entry.name)}' is in the archive twice.") from None
            with os.fdopen(handle, "wb") as out, entry.open() as source:
                total += _copy(source, out, most - total)
            files += 1
            if files % 1_000 == 0 and shutil.disk_usage(folder).free < _ROOM:
                raise OverloadedError("There is no room to unpack archives right now.", retry_after_s=60)
    return files


def _copy(source: IO[bytes], out: IO[bytes], most: int) -> int:
    size = 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        if size > most:
            raise ArchiveTooLargeError("The archive unfolds to more than this service accepts.")
        out.write(chunk)
    return size


def _entries(archive: Path, limits: ArchiveLimits) -> Iterator[_Entry]:
    with archive.open("rb") as file:
        head = file.read(4)
    if head[:2] == b"PK":
        yield from _zip(archive, limits)
    else:
        yield from _tar(archive, "r|gz" if head[:2] == b"\x1f\x8b" else "r|")


def _zip(archive: Path, limits: ArchiveLimits) -> Iterator[_Entry]:
    with zipfile.ZipFile(archive) as opened:
        if len(opened.filelist) > limits.entries:
            raise ArchiveTooLargeError(f"The archive holds more than {limits.entries} entries.")
        for about in opened.filelist:
            if about.flag_bits & 1:
                raise ArchiveError("The archive is encrypted.")
            kind = about.external_attr >> 16 & 0o170000
            plain = kind in (0, 0o100000) and not about.is_dir()
            yield _Entry(about.filename, plain, about.is_dir(), partial(opened.open, about))


def _tar(archive: Path, mode: str) -> Iterator[_Entry]:
    with tarfile.open(archive, mode) as opened:  # type: ignore[call-overload]
        for about in opened:
            opened.members = []  # a stream needs none, and a million take gigabytes
            plain = about.isreg() and not about.issparse()

            def start(about: tarfile.TarInfo = about) -> IO[bytes]:
                found = opened.extractfile(about)
                if found is None:
                    raise ArchiveError(f"'{_shown(about.name)}' is no file.")
                return cast(IO[bytes], found)

            yield _Entry(about.name, plain, about.isdir(), start)


def _checked(name: str) -> str:
    """A relative path below the folder; raises ArchiveError for any other."""
    path = PurePosixPath(name)
    bad = (
        not name
        or name.startswith(("/", "\\"))
        or len(name) > _LONGEST_PATH
        or len(path.parts) > _DEEPEST
        or ".." in path.parts
        or "\\" in name
        or any(len(part.encode(errors="replace")) > 255 for part in path.parts)
    )
    if bad or not path.parts or not name.isprintable():
        raise ArchiveError(f"'{_shown(name)}' is not a name that an archive may hold.")
    return str(path)


def _shown(name: str) -> str:
    return name.encode("ascii", "replace").decode()[:100]


@contextmanager
def _damage() -> Iterator[None]:
    """Whatever the libraries raise over a damaged archive becomes one sentence."""
    try:
        yield
    except (ArchiveError, ArchiveTooLargeError, OverloadedError):
        raise
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        UnicodeError,
        RuntimeError,
        ValueError,
    ) as error:
        raise ArchiveError("This is not a whole zip, tar or tar.gz archive.", reason=str(error)) from None
    except OSError as error:
        if isinstance(error, ConnectionError) or error.errno is not None:
            raise
        raise ArchiveError("This is not a whole zip, tar or tar.gz archive.", reason=str(error)) from None
