"""The failures of storage that a client can meet."""

from __future__ import annotations

from app.errors import InvalidInputError, OverloadedError, TooLargeError


class ArchiveTooLargeError(TooLargeError):
    """The archive unfolds to more than this service accepts."""

    code = "archive_too_large"
    advice = "Split the archive, or raise the limit ([settings.md](settings.md))."


class ArchiveError(InvalidInputError):
    """The archive cannot be unpacked."""

    code = "invalid_archive"
    advice = "Pack the folder again as zip, tar, tar.gz, tar.bz2 or tar.xz."


class StoreUnavailableError(OverloadedError):
    """The database is not reachable right now."""

    code = "store_unavailable"
    advice = "Send the request again after `Retry-After`; where it lasts, look at the database or Redis."


class TooManyOpenFilesError(OverloadedError):
    """The service has too many open files: try again shortly, or raise the limit (ulimit -n)."""

    code = "too_many_open_files"
    advice = "Send the request again after `Retry-After`; where it lasts, raise `ulimit -n`."


class InsufficientStorageError(OverloadedError):
    """The disk that keeps data is full: free some space there, then try again."""

    status, code, title = 507, "insufficient_storage", "Insufficient storage"
    advice = "Free some space on the disk that the sentence names, then send the request again."
