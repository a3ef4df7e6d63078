"""A private folder that one running service has to itself: sockets, shared counts and figures of its processes."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.embedded.folders import SOCKET_PATH_BYTES, private_folder

MAX_NAME = "/engine-00.sock"
_PREFIX = "service-"
_TEMPORARY_PREFIX = "llamafarm-vision-run-"
_LOCK, _NEW_LOCK = "lock", "lock.new"
MAX_START_SECONDS = 600.0
"""A folder without a lock that is older belongs to no service that is still starting."""


@contextmanager
def run_folder(data_dir: Path) -> Iterator[Path]:
    """The folder for a block, below `data_dir` or, where a socket's path would be too long, in a temporary folder.

    Those that killed services left behind are removed. Raises FolderError and OSError.
    """
    parent, prefix = private_folder(data_dir / "run"), _PREFIX
    if len(os.fsencode(f"{parent}/{prefix}12345678{MAX_NAME}")) > SOCKET_PATH_BYTES:
        parent, prefix = Path(tempfile.gettempdir()), _TEMPORARY_PREFIX
    for left in parent.glob(f"{prefix}*"):
        with suppress(OSError):
            if left.stat().st_uid == os.geteuid() and not left.is_symlink():
                _remove_unlocked(left)
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        with (made / _NEW_LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # under its name only now: another process removes a folder whose lock is free
            (made / _NEW_LOCK).rename(made / _LOCK)
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _remove_unlocked(folder: Path) -> None:
    """Remove a folder whose service is gone; raises OSError where it is not, BlockingIOError among them."""
    try:
        with (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except FileNotFoundError:  # of a service that is starting, or was killed then
        if time.time() - folder.stat().st_mtime > MAX_START_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
