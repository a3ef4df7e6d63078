"""What the operating system says of disks and open files, as the named errors of this service."""

from __future__ import annotations

import errno
import os
import re
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.errors import OverloadedError
from app.storage.errors import InsufficientStorageError, StoreUnavailableError, TooManyOpenFilesError

_MIB = 1 << 20
_FULL_BYTES = _MIB
"""A disk with less room than this is full: the next write of any size fails."""
_RETRY_SECONDS = 60
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_CAUSES = {
    errno.EROFS: "its file system can only be read",
    errno.EIO: "the disk reports input/output errors",
    errno.EACCES: "the service's user may not read or write there",
    errno.EPERM: "the service's user may not read or write there",
    errno.ESTALE: "its file system went away",
    errno.ENODEV: "its file system went away",
    errno.ENXIO: "its file system went away",
    errno.ENOTCONN: "its file system went away",
}
# Rust says "os error 28"; torch's zip writer and numpy say how far they came, with no number at all
_FULL_WORDS = re.compile(
    r"No space left on device|Disk quota exceeded|os error (28|122)\b|PytorchStreamWriter failed writing"
    r"|\d+ requested and \d+ written"
)
_OUT_OF_FILES_WORDS = re.compile(r"Too many open files|os error (23|24)\b")


def out_of_files() -> OverloadedError | None:
    """The named error where this process can open no further file right now; None where it can."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in _OUT_OF_FILES:
            return _out_of_files(error.errno, str(error))
    return None


def fault_of(
    error: BaseException, folder: Path | None = None, *, what: str = "data"
) -> OverloadedError | None:
    """The named error of whatever disk or descriptor made `error`, or one that caused it, happen.

    None where neither is to blame. `folder` is where was written, and `what` is kept there: the sentence says both how
    much room is left and whose disk it is. Paths go to the log alone.
    """
    for link in _chain(error):
        number = link.errno if isinstance(link, OSError) else None
        said = str(link)
        if number in _FULL or _FULL_WORDS.search(said):
            return full(folder, what=what, reason=said)
        if number in _OUT_OF_FILES or _OUT_OF_FILES_WORDS.search(said):
            return _out_of_files(number, said)
        if number is not None and (cause := _CAUSES.get(number)):
            return StoreUnavailableError(
                f"The folder of {what} cannot be used right now: {cause}.", reason=said
            )
    return None


def want_of_room(error: BaseException, folder: Path, *, what: str) -> OverloadedError | None:
    """The full disk or the open files that `error` is about, named or not yet; they pass without anybody's doing, so a
    job that met them waits. None for any other failure.
    """
    for link in _chain(error):
        if isinstance(link, InsufficientStorageError | TooManyOpenFilesError):
            return link
    named = fault_of(error, folder, what=what)
    return named if isinstance(named, InsufficientStorageError | TooManyOpenFilesError) else None


def full(folder: Path | None = None, *, what: str = "data", reason: str = "") -> InsufficientStorageError:
    """The error of a disk without room for a write."""
    room = None if folder is None else free_bytes(folder)
    left = "" if room is None else f" ({room // _MIB} MB free)"
    return InsufficientStorageError(
        f"The disk that keeps {what} is full{left}: free some space there, then try again.",
        retry_after_s=_RETRY_SECONDS,
        reason=reason,
    )


def is_full(folder: Path) -> bool:
    """Whether a write below `folder` would fail for want of room."""
    room = free_bytes(folder)
    return room is not None and room < _FULL_BYTES


def free_bytes(folder: Path) -> int | None:
    """Bytes this user may still write below `folder`, whether or not it was made yet; None where nobody can tell.

    A file system without room for another file has no room.
    """
    for place in (folder, *folder.parents):
        try:
            found = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return 0 if found.f_files and not found.f_favail else found.f_bavail * found.f_frsize
    return None


def shortage(folder: Path, min_free_mb: int, *, more_bytes: int = 0) -> str | None:
    """What is wrong where writing `more_bytes` below `folder` would leave less than `min_free_mb` MiB free."""
    room = free_bytes(folder)
    if room is None or room - more_bytes >= min_free_mb * _MIB:
        return None
    asked = f", {-(-more_bytes // _MIB)} MB are needed" if more_bytes else ""
    return f"{room // _MIB} MB free{asked}, and {min_free_mb} MB are kept free (VISION_MIN_FREE_MB)"


def check_room(folder: Path, min_free_mb: int, *, what: str = "data", more_bytes: int = 0) -> None:
    """Raise InsufficientStorageError where `shortage` finds one."""
    if (found := shortage(folder, min_free_mb, more_bytes=more_bytes)) is not None:
        raise InsufficientStorageError(
            f"The disk that keeps {what} has no room: {found}. Free some space there, then try again.",
            retry_after_s=_RETRY_SECONDS,
        )


@contextmanager
def naming_faults(folder: Path | None, what: str, *, writes_to: Path | None = None) -> Iterator[None]:
    """Name what goes wrong in a store of `what`, which is the `folder` where it is on this machine.

    `writes_to` is where is written, where that is not the store.
    """
    try:
        yield
    except FileNotFoundError:
        if folder is not None and not folder.is_dir():
            raise StoreUnavailableError(f"The folder of {what} is not there right now.") from None
        raise
    except OSError as error:
        raise fault_of(error, writes_to or folder, what=what) or StoreUnavailableError(
            f"{what.capitalize()} cannot be kept right now.", reason=str(error)
        ) from error


@contextmanager
def writing_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that is at `path`, and on the disk, once the block has ended; where that raises, nothing is there."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Let what was made or renamed in a folder outlive a power failure."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _out_of_files(number: int | None, said: str) -> TooManyOpenFilesError:
    if number == errno.ENFILE:
        detail = "The machine has too many open files: try again shortly."
    else:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        detail = (
            f"The service has too many open files (it may have {most}): try again shortly, "
            "or raise the limit (ulimit -n)."
        )
    return TooManyOpenFilesError(detail, reason=said)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and what led to it."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
