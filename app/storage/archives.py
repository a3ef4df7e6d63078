"""Untrusted archives: zip and tar (plain, gzip, bzip2, xz), unpacked without leaving the folder or filling the disk.

The bytes decide which kind it is, never a name. Whoever unpacks one does so in a bounded child: `unpack_bounded`.
"""

from __future__ import annotations

import lzma
import os
import shutil
import struct
import tarfile
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

from app.bounded import ChildLimits, run_bounded
from app.errors import CheckLimitError, OverloadedError
from app.settings import Settings
from app.storage.archive_entries import (
    MIB,
    NO_ARCHIVE,
    ArchiveLimits,
    Entry,
    UnpackedArchive,
    refuse_bomb,
    shorten_name,
)
from app.storage.disk import check_room
from app.storage.errors import ArchiveError, ArchiveTooLargeError
from app.storage.tar_entries import check_tar, read_tar
from app.storage.unfolding import find_compression
from app.storage.zip_entries import check_zip, read_zip

_CHUNK = 1 << 20
_ROOM_CHECK_BYTES = 8 * MIB
MAX_PATH_CHARS = 1_000
MAX_DEPTH = 32
ENTRY_CPU_SECONDS, ENTRY_WALL_SECONDS = 0.0005, 0.002
"""What a dataset's job gets on top for each entry that its archive may have: writing a small file takes 0.1 ms, and
longer on network disks."""
_LITTER = ("Icon\r", "._Icon\r")
"""Icons of folders that macOS packs along; nothing but the Finder reads them."""
_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that make a name look like another one."""
_FOREIGN = {
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard stream",
}


def check_head(archive: Path, limits: ArchiveLimits) -> None:
    """Refuse at once what a look at the first and last bytes tells apart from an archive.

    Reads at most 64 KiB. Raises ArchiveError, ArchiveTooLargeError (a zip that names too many entries).
    """
    with archive.open("rb") as file:
        head = file.read(tarfile.BLOCKSIZE)
        if head[:2] == b"PK":
            check_zip(file, archive.stat().st_size, limits)
        elif find_compression(head) is None:
            for magic, kind in _FOREIGN.items():
                if head.startswith(magic):
                    raise ArchiveError(
                        f"This is {kind}, which is not read: send zip, tar.gz, tar.bz2 or tar.xz."
                    )
            check_tar(head)


def check_limits(settings: Settings, size_bytes: int) -> ChildLimits:
    """What a child may take that unpacks or checks an upload of this size."""
    scaled = (
        settings.uploads.upload_check_s_per_gib * -(-size_bytes // (1 << 30)) if size_bytes > 64 * MIB else 0
    )
    return ChildLimits(
        memory_bytes=settings.uploads.upload_check_memory_mb * MIB,
        cpu_seconds=settings.uploads.upload_check_cpu_s + scaled,
        wall_seconds=settings.uploads.upload_check_wall_s + scaled,
        open_files=settings.uploads.upload_check_open_files,
        file_bytes=settings.uploads.max_unpacked_mb * MIB,
    )


def unpack_bounded(
    archive: Path, folder: Path, settings: Settings, *, gone: threading.Event | None = None
) -> UnpackedArchive:
    """`unpack` in a child process with limits; raises CheckLimitError too."""
    limits = ArchiveLimits.from_settings(settings)
    allowed = check_limits(settings, archive.stat().st_size)
    allowed = replace(
        allowed,
        cpu_seconds=allowed.cpu_seconds + int(ENTRY_CPU_SECONDS * limits.entries),
        wall_seconds=allowed.wall_seconds + ENTRY_WALL_SECONDS * limits.entries,
    )
    try:
        found = run_bounded(
            "app.storage.archives:unpack_request",
            {"archive": str(archive), "folder": str(folder), "limits": vars(limits)},
            allowed,
            doing="Unpacking the archive",
            gone=gone,
        )
    except BaseException:  # a child that was ended removes nothing
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return UnpackedArchive(**found)


def unpack_request(archive: str, folder: str, limits: dict[str, int]) -> dict[str, Any]:
    """`unpack`, as a bounded child is asked for it."""
    return vars(unpack(Path(archive), Path(folder), ArchiveLimits(**limits)))


def unpack(
    archive: Path,
    folder: Path,
    limits: ArchiveLimits,
    *,
    is_allowed: Callable[[str], bool] | None = None,
) -> UnpackedArchive:
    """Unpack into the new `folder`. `is_allowed` says which paths may be in it.

    Backslashes in names separate folders, as Windows writes them; the encoding of names that do not state it is
    guessed (`app.storage.archive_names`). What was guessed or left out stands in the remarks.

    Raises ArchiveError for what is no archive, is damaged or encrypted, holds links, devices, or names that are
    absolute, lead out of the folder, come twice or are not allowed; ArchiveTooLargeError for too many entries, too
    large a total or ratio; InsufficientStorageError where the disk has no room. The folder is removed again then.
    """
    folder.mkdir(parents=True)
    try:
        return _Unpacking(archive, folder, limits, is_allowed or (lambda _: True)).run()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


class _Unpacking:
    """One archive on its way into a folder."""

    def __init__(
        self, archive: Path, folder: Path, limits: ArchiveLimits, is_allowed: Callable[[str], bool]
    ) -> None:
        self._archive, self._folder, self._limits = archive, folder, limits
        self._is_allowed = is_allowed
        self._left = limits.max_bytes(archive.stat().st_size)
        self._unchecked = 0
        self._remarks: list[str] = []
        self._backslashes = self._icons = 0

    def run(self) -> UnpackedArchive:
        files = 0
        with _damage():
            for number, entry in enumerate(self._entries(), 1):
                self._limits.check_entries(number)
                if entry.is_folder and not PurePosixPath(entry.name).parts:
                    continue  # the folder itself, which `tar c .` begins with
                if entry.name.rpartition("/")[2] in _LITTER:
                    self._icons += 1
                    continue
                self._backslashes += "\\" in entry.name
                path = _check_path(entry.name)
                if entry.is_folder:
                    continue
                if not entry.is_plain:
                    raise ArchiveError(
                        f"'{shorten_name(entry.name)}' is a link or a device: archives may hold files only."
                    )
                if not self._is_allowed(path):
                    raise ArchiveError(
                        f"'{shorten_name(entry.name)}' is not a name that a file here may have."
                    )
                self._check_room()
                self._write(entry, path)
                files += 1
        if self._backslashes:
            self._remarks.append(f"Backslashes in {self._backslashes} names were read as folders.")
        if self._icons:
            self._remarks.append(f"{self._icons} icons of macOS folders were left out.")
        return UnpackedArchive(files, self._remarks)

    def _entries(self) -> Iterator[Entry]:
        with self._archive.open("rb") as file:
            head = file.read(2)
        if head == b"PK":
            return read_zip(self._archive, self._limits, self._remarks)
        return read_tar(self._archive, self._limits, self._remarks)

    def _write(self, entry: Entry, path: str) -> None:
        target = self._folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            raise ArchiveError(f"'{shorten_name(entry.name)}' is in the archive twice.") from None
        with os.fdopen(handle, "wb") as out, entry.open() as source:
            self._copy(source, out)

    def _copy(self, source: IO[bytes], out: IO[bytes]) -> None:
        while chunk := source.read(_CHUNK):
            self._left -= len(chunk)
            if self._left < 0:
                raise refuse_bomb()
            self._unchecked += len(chunk)
            if self._unchecked >= _ROOM_CHECK_BYTES:
                self._check_room()
            out.write(chunk)

    def _check_room(self) -> None:
        self._unchecked = 0
        check_room(self._folder, self._limits.min_free_mb, what="archives")


def _check_path(name: str) -> str:
    """A relative path below the folder; raises ArchiveError for any other."""
    path = PurePosixPath(name.replace("\\", "/"))
    bad = (
        not name
        or path.is_absolute()
        or len(name) > MAX_PATH_CHARS
        or len(path.parts) > MAX_DEPTH
        or ".." in path.parts
        or any(len(part.encode(errors="replace")) > 255 for part in path.parts)
    )
    if bad or not path.parts or path.parts[0][1:] == ":" or not all(map(_is_fit, name)):
        raise ArchiveError(f"'{shorten_name(name)}' is not a name that an archive may hold.")
    return str(path)


def _is_fit(character: str) -> bool:
    """Whether a name may hold it: odd spaces, joiners of emoji and new ones may stand in one, as systems write them."""
    return character.isprintable() or (
        character not in _BIDI and unicodedata.category(character) in ("Zs", "Cf", "Cn", "Co")
    )


@contextmanager
def _damage() -> Iterator[None]:
    """Whatever the libraries raise over a damaged archive becomes one sentence."""
    try:
        yield
    except (ArchiveError, ArchiveTooLargeError, CheckLimitError, OverloadedError):
        raise
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        struct.error,
        EOFError,
        NotImplementedError,
        UnicodeError,
        RuntimeError,
        ValueError,
    ) as error:
        raise ArchiveError(NO_ARCHIVE, cause=str(error)) from None
    except OSError as error:
        if isinstance(error, ConnectionError) or error.errno is not None:
            raise
        raise ArchiveError(NO_ARCHIVE, cause=str(error)) from None
