"""Receives an archive: as the body itself or as the part `archive` of a form, straight into a file."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fastapi import Request
from python_multipart.multipart import parse_options_header

from app import errors
from app.http.errors import UnsupportedMediaTypeError
from app.http.multipart import Parts, check_text
from app.settings import Settings
from app.storage import disk

ARCHIVE_NAMES = frozenset({"archive", "file"})
_RAW = frozenset(
    {
        b"application/zip",
        b"application/x-zip-compressed",
        b"application/x-tar",
        b"application/gzip",
        b"application/x-gzip",
        b"application/x-bzip2",
        b"application/x-xz",
        b"application/octet-stream",
    }
)


@dataclass(frozen=True)
class ArchiveUpload:
    """An archive that was received, and the fields beside it."""

    path: Path
    """Gone when the request ends."""
    size: int
    fields: dict[str, str]
    """Of the form and the query; the form's come first."""


@asynccontextmanager
async def receive_archive(request: Request, settings: Settings) -> AsyncIterator[ArchiveUpload]:
    """The request's archive, on disk for the length of the block.

    Raises BadRequestError, UnsupportedMediaTypeError, InvalidInputError (no archive, or two), TooLargeError,
    InsufficientStorageError (no room on the disk), and what the limits on bodies raise.
    """
    folder = settings.server.data_dir.expanduser() / "tmp" / "archives"
    declared = request.headers.get("content-length", "")  # `app.http.limits` has seen that it is a number
    expected = int(declared) if declared.isdigit() else 0
    disk.check_room(folder, settings.server.min_free_mb, what="uploads", more_bytes=expected)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=folder)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            sink = _Sink(file, folder, settings.server.min_free_mb)
            fields = await _receive(request, settings, sink)
        for field in request.query_params:
            fields.setdefault(field, check_text(field, request.query_params[field]))
        yield ArchiveUpload(path, sink.size, fields)
    finally:
        with suppress(FileNotFoundError):  # its reader may have removed it already
            os.unlink(name)


async def _receive(request: Request, settings: Settings, sink: _Sink) -> dict[str, str]:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    fields: dict[str, str] = {}
    if kind == b"multipart/form-data":
        parts = Parts(settings, open_image=sink.open, write=_Sink.write, files=ARCHIVE_NAMES)
        await parts.receive(request, options.get(b"boundary"), sink.drain)
        for field, values in parts.fields.items():
            if len(values) > 1:
                raise errors.InvalidInputError(f"{field}: give it once.")
            fields[field] = values[0]
    elif kind in _RAW:
        sink.open()
        async for chunk in request.stream():
            sink.write(chunk)
            await sink.drain()
    else:
        raise UnsupportedMediaTypeError(
            "Send the archive (zip, tar, tar.gz, tar.bz2, tar.xz) as the part 'archive' of a form, or as the body"
            " itself."
        )
    await sink.drain(1)
    if not sink.size:
        raise errors.InvalidInputError("archive: send one, as a zip, tar, tar.gz, tar.bz2 or tar.xz.")
    return fields


class _Sink:
    """One archive on its way to disk: written in a thread, a few MiB at a time, while there is room."""

    _WAVE = 4 << 20

    def __init__(self, file: IO[bytes], folder: Path, min_free_mb: int) -> None:
        self.size = 0
        self._file, self._folder, self._min_free_mb = file, folder, min_free_mb
        self._opened = False
        self._waiting = bytearray()

    def open(self) -> _Sink:
        if self._opened:
            raise errors.InvalidInputError("archive: send exactly one.")
        self._opened = True
        return self

    def write(self, data: bytes) -> None:
        self._waiting += data
        self.size += len(data)

    async def drain(self, least: int = _WAVE) -> None:
        if len(self._waiting) >= least:
            await asyncio.to_thread(self._flush)

    def _flush(self) -> None:
        disk.check_room(self._folder, self._min_free_mb, what="uploads", more_bytes=len(self._waiting))
        self._file.write(self._waiting)
        self._waiting.clear()
