"""Private folders, secret files and a place short enough for Unix sockets."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.embedded.errors import FolderError

# A socket's address holds 108 bytes with its final NUL.
SOCKET_PATH_BYTES = 107
SOCKET_NAME = "/.s.PGSQL.5432"
# libpq splits hosts at commas, PostgreSQL and Valkey quote differently: sockets get only plain names.
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+@-]+")
SOCKET_NOTE = "sockets-folder"


@dataclass(frozen=True)
class Account:
    """The unprivileged user that the servers run as when the service itself is root."""

    uid: int
    gid: int


def private_folder(path: Path, account: Account | None = None) -> Path:
    """`path` as a folder that only its owner can enter; made if missing, refused if it is anything else.

    The owner is `account`, or the current user. Raises FolderError.
    """
    owner = account.uid if account else os.geteuid()
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        check_private(path, owner)
    except OSError as error:
        raise FolderError(f"The folder {path} cannot be made: {error.strerror}.") from error
    else:
        if account:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
    return path


def check_private(path: Path, owner: int) -> None:
    """Raise FolderError unless `path` is a real folder of user `owner`, closed to everybody else."""
    try:
        found = path.lstat()
    except OSError as error:
        raise FolderError(f"The folder {path} cannot be read: {error.strerror}.") from error
    if not stat.S_ISDIR(found.st_mode):
        raise FolderError(f"{path} must be a folder, not a link or a file.")
    if found.st_uid != owner:
        raise FolderError(
            f"The folder {path} belongs to user {found.st_uid} but this process is user {owner}: "
            "start the service as the user who first used this data folder."
        )
    if found.st_mode & 0o077:
        raise FolderError(f"The folder {path} is open to other users: close it with 'chmod 700 {path}'.")


def write_private(path: Path, text: str, account: Account | None = None) -> None:
    """Put `text` into `path` (mode 0600) all at once: readers and crashes see the old or the new."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            if account:
                os.fchown(file.fileno(), account.uid, account.gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the renames in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def secret(path: Path) -> str:
    """The password kept in `path`; made from 32 random bytes on first use."""
    with suppress(FileNotFoundError):
        if kept := path.read_text(encoding="utf-8").strip():
            return kept
    fresh = secrets.token_urlsafe(32)
    write_private(path, fresh + "\n")
    return fresh


def socket_folder(preferred: Path, state: Path, account: Account | None = None) -> Path:
    """A private folder whose socket paths fit into 107 bytes: `preferred`, else one in a temporary folder.

    A temporary one is noted in `state`, so that every process of the data folder meets in the same place; a
    noted folder that is no longer a private folder of ours is not used again.
    """
    if _fits(preferred):
        return private_folder(preferred, account)
    note = state / SOCKET_NOTE
    owner = account.uid if account else os.geteuid()
    with suppress(FileNotFoundError, FolderError):
        noted = Path(note.read_text(encoding="utf-8").strip())
        check_private(noted, owner)
        return noted
    for parent in _temporary_folders():
        if not _fits(parent / "llamafarm-vision-12345678"):
            continue
        with suppress(OSError):
            made = Path(tempfile.mkdtemp(prefix="llamafarm-vision-", dir=parent))
            if account:
                os.chown(made, account.uid, account.gid, follow_symlinks=False)
            write_private(note, f"{made}\n")
            return made
    raise FolderError(
        f"The path {preferred} is too long for a Unix socket and no temporary folder is usable: "
        "choose a shorter VISION_DATA_DIR or TMPDIR."
    )


def forget_socket_folder(state: Path) -> None:
    """Remove a temporary socket folder that `socket_folder` noted, with the note."""
    note = state / SOCKET_NOTE
    with suppress(FileNotFoundError):
        noted = Path(note.read_text(encoding="utf-8").strip())
        if noted.name.startswith("llamafarm-vision-") and noted.is_dir() and not noted.is_symlink():
            shutil.rmtree(noted, ignore_errors=True)
        note.unlink()


def _fits(folder: Path) -> bool:
    text = f"{folder}{SOCKET_NAME}"
    return len(os.fsencode(text)) <= SOCKET_PATH_BYTES and PLAIN_PATH.fullmatch(text) is not None


def _temporary_folders() -> Iterable[Path]:
    """Folders where others cannot swap what we make: ours alone, or sticky.

    XDG_RUNTIME_DIR is not among them: it is removed when the user logs out, under a service that goes on.
    """
    for name in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):  # noqa: S108 - mkdtemp makes the folder
        path = Path(name)
        with suppress(OSError):
            found = path.stat()
            if not found.st_mode & 0o022 or found.st_mode & stat.S_ISVTX:
                yield path
