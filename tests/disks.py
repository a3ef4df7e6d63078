"""A disk that tests may fill: a small file system of its own where this user may mount one, else the real disk, of
which a service is told to keep nearly all of what is free.

Knows mounts and ballast; knows nothing of what is kept there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_MIB = 2**20
SIZE_MB = 600
KEEP_MB = 64
_SLACK_MB = 2_048
"""Room on a shared disk that others may use up or free meanwhile."""


@dataclass
class SmallDisk:
    """See the module."""

    folder: Path
    min_free_mb: int
    """What `VISION_MIN_FREE_MB` is to be there."""
    own: bool
    """A file system of its own, which can be filled to its last byte."""

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self, left_mb: int = 8) -> None:
        """Leave less room than is to be kept free; of a disk of its own, so many MiB, or with 0 not one byte.

        Once more with 0 takes what came free since.
        """
        size = shutil.disk_usage(self.folder).free - left_mb * _MIB if self.own else 2 * _SLACK_MB * _MIB
        with self._ballast.open("ab", buffering=0) as file:
            if left_mb or not self.own:
                os.posix_fallocate(file.fileno(), 0, size)
                return
            with suppress(OSError):  # others may write meanwhile: until there is no room at all
                while file.write(bytes(_MIB)):
                    pass

    def clear(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """A disk below the new `folder`, empty."""
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "none", str(folder)]
    try:
        own = subprocess.run(mounted, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        own = False
    keep_mb = KEEP_MB if own else shutil.disk_usage(folder).free // _MIB - _SLACK_MB
    disk = SmallDisk(folder, keep_mb, own)
    try:
        yield disk
    finally:
        disk.clear()
        if own:
            subprocess.run(["umount", "-l", str(folder)], check=True)
