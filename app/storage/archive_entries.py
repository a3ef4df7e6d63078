"""What every kind of archive has in common: its limits, and an entry on its way out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from app.settings import Settings
from app.storage.errors import ArchiveTooLargeError

MIB = 1 << 20
NO_ARCHIVE = "This is not a whole zip, tar, tar.gz, tar.bz2 or tar.xz archive."
_FREE_RATIO_BYTES = 100 * MIB
"""Up to here the ratio does not matter: small archives of text compress very well."""


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold."""

    entries: int
    ratio: int
    """Unpacked bytes over packed ones."""
    unpacked_bytes: int
    min_free_mb: int = 0
    """MiB of the disk that unpacking leaves free."""

    @classmethod
    def from_settings(cls, settings: Settings) -> ArchiveLimits:
        """`max_archive_entries`, `max_archive_ratio`, `max_unpacked_mb`, `min_free_mb`."""
        return cls(
            settings.uploads.max_archive_entries,
            settings.uploads.max_archive_ratio,
            settings.uploads.max_unpacked_mb * MIB,
            settings.server.min_free_mb,
        )

    def max_bytes(self, packed_bytes: int) -> int:
        """Most bytes that an archive of this size may unfold to."""
        return min(self.unpacked_bytes, max(packed_bytes * self.ratio, _FREE_RATIO_BYTES))

    def check_entries(self, count: int) -> None:
        """Raise ArchiveTooLargeError for more entries than an archive may hold."""
        if count > self.entries:
            raise ArchiveTooLargeError(f"The archive holds more than {self.entries} entries.")


@dataclass(frozen=True)
class Entry:
    """One name in an archive and how to read what it stands for."""

    name: str
    is_plain: bool
    """A regular file: no folder, link, device or socket."""
    is_folder: bool
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class UnpackedArchive:
    """What unpacking an archive gave."""

    files: int
    remarks: list[str]
    """Sentences for the report on the archive: what was guessed, and what was left out."""


def shorten_name(name: str) -> str:
    """A name as an error shows it."""
    return name.encode("ascii", "replace").decode()[:100]


def shown_name(name: str) -> str:
    """A name in the characters it was read as, for a sentence about how it was read."""
    return "".join(c if c.isprintable() else "?" for c in name)[:60]


def refuse_bomb() -> ArchiveTooLargeError:
    """The error for what unfolds too far."""
    return ArchiveTooLargeError("The archive unfolds to more than this service accepts.")
