"""Where images are kept: each under the SHA-256 of its bytes, in a local folder or behind any fsspec URL."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from app.settings import Settings
from app.storage import disk

T = TypeVar("T")

_HASH = re.compile(r"[0-9a-f]{64}")


class _Backend(Protocol):
    """The blocking half of a store."""

    folder: Path | None
    """Where it is on this machine; None where it is elsewhere."""

    def put(self, key: str, data: bytes) -> None: ...
    def get(self, key: str) -> bytes: ...
    def delete(self, key: str) -> None: ...
    def exists(self, key: str) -> bool: ...
    def older_than(self, age_s: float) -> Iterator[str]: ...


class BlobStore:
    """Content-addressed blobs; every call blocks in a thread, not in the event loop.

    Raises FileNotFoundError for a blob that is not there, and where the store itself fails InsufficientStorageError (a
    full disk), TooManyOpenFilesError or StoreUnavailableError.
    """

    def __init__(self, backend: _Backend) -> None:
        self._backend = backend

    @classmethod
    def from_settings(cls, settings: Settings) -> BlobStore:
        """`blob_url`, or the folder `blobs` of the data folder."""
        if (folder := local_folder(settings)) is not None:
            return cls(_Folder(folder, settings.server.min_free_mb))
        return cls(_Fsspec(*fsspec.core.url_to_fs(settings.server.blob_url)))

    async def put(self, sha256: str, data: bytes) -> None:
        """Keep `data`; on disk when this returns. Keeping it again does nothing."""
        await asyncio.to_thread(self._call, self._put, sha256, data)

    async def get(self, sha256: str) -> bytes:
        """The bytes stored under the hash."""
        return await asyncio.to_thread(self._call, self._backend.get, _check_hash(sha256))

    async def delete(self, sha256: str) -> None:
        """Forget the bytes; nothing happens where there are none."""
        await asyncio.to_thread(self._call, self._backend.delete, _check_hash(sha256))

    async def older_than(self, age_s: float) -> list[str]:
        """Hashes of the blobs that were written at least `age_s` seconds ago."""
        return await asyncio.to_thread(self._call, lambda: list(self._backend.older_than(age_s)))

    def read(self, sha256: str) -> bytes:
        """The bytes, for callers without an event loop."""
        return self._call(self._backend.get, _check_hash(sha256))

    def keep(self, data: bytes) -> str:
        """Keep `data`, for callers without an event loop; its SHA-256 in hex."""
        sha256 = hashlib.sha256(data).hexdigest()
        self._call(self._put, sha256, data)
        return sha256

    def _put(self, sha256: str, data: bytes) -> None:
        if not self._backend.exists(_check_hash(sha256)):
            self._backend.put(sha256, data)

    def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        with disk.naming_faults(self._backend.folder, "images"):
            return function(*arguments)


def local_folder(settings: Settings) -> Path | None:
    """Where images are kept on this machine; None where they are elsewhere."""
    if not settings.server.blob_url:
        return settings.server.data_dir.expanduser() / "blobs"
    files, root = fsspec.core.url_to_fs(settings.server.blob_url)
    return Path(root) if isinstance(files, LocalFileSystem) else None


class _Folder:
    """Files below one folder, written beside their place, synced and renamed: each is whole or absent."""

    def __init__(self, root: Path, min_free_mb: int = 0) -> None:
        self._root = root
        self.folder: Path | None = root
        self._min_free_mb = min_free_mb
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _path(self, key: str) -> Path:
        return self._root / key[:2] / key

    def put(self, key: str, data: bytes) -> None:
        disk.check_room(self._root, self._min_free_mb, what="images", more_bytes=len(data))
        path = self._path(key)
        try:
            path.parent.mkdir()
        except FileExistsError:
            pass
        else:
            disk.sync_folder(self._root)
        with disk.writing_whole(path) as file:
            file.write(data)

    def get(self, key: str) -> bytes:
        return self._path(key).read_bytes()

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def older_than(self, age_s: float) -> Iterator[str]:
        limit = time.time() - age_s
        for path in self._root.glob("??/*"):
            with suppress(FileNotFoundError):  # deleted meanwhile
                if path.stat().st_mtime >= limit:
                    continue
                if _HASH.fullmatch(path.name):
                    yield path.name
                else:
                    path.unlink()  # what a killed process was still writing


class _Fsspec:
    """Objects of a remote store, which writes each whole or not at all."""

    folder: Path | None = None

    def __init__(self, files: AbstractFileSystem, root: str) -> None:
        self._files, self._root = files, root

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key[:2]}/{key}"

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        try:
            self._files.pipe_file(path, data)
        except FileNotFoundError:  # object stores know no folders, others want theirs made
            self._files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            self._files.pipe_file(path, data)

    def get(self, key: str) -> bytes:
        data: bytes = self._files.cat_file(self._path(key))
        return data

    def delete(self, key: str) -> None:
        if self._files.exists(self._path(key)):
            self._files.rm_file(self._path(key))

    def exists(self, key: str) -> bool:
        return bool(self._files.exists(self._path(key)))

    def older_than(self, age_s: float) -> Iterator[str]:
        limit = time.time() - age_s
        for path in self._files.find(self._root):
            key = str(path).rsplit("/", 1)[-1]
            if _HASH.fullmatch(key) and self._files.modified(path).timestamp() < limit:
                yield key


def _check_hash(sha256: str) -> str:
    """Only a hash ever becomes part of a path."""
    if not _HASH.fullmatch(sha256):
        raise ValueError("a blob's name is 64 hex digits")
    return sha256
