"""The failures of storage that a client can meet."""

from __future__ import annotations

from app.errors import InvalidInputError, OverloadedError, TooLargeError


class ArchiveTooLargeError(TooLargeError):
    """The archive unfolds to more than this service accepts."""

    code = "archive_too_large"


class ArchiveError(InvalidInputError):
    """The archive cannot be unpacked."""

    code = "invalid_archive"


class StoreUnavailableError(OverloadedError):
    """The database is not reachable right now."""

    code = "store_unavailable"


class TooManyOpenFilesError(OverloadedError):
    """The service has too many open files: try again shortly, or raise the limit (ulimit -n)."""

    code = "too_many_open_files"


class InsufficientStorageError(OverloadedError):
    """The disk that keeps data is full: free some space there, then try again."""

    status, code, title = 507, "insufficient_storage", "Insufficient storage"
