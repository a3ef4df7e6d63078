"""Where checkpoints, models, manifests and exports are kept: files by key, in a folder or behind a fsspec URL.

A local file is whole or absent; an object store writes each object whole or not at all.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from app.settings import Settings
from app.storage import disk

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


def is_key(text: str) -> bool:
    """Whether a file can be kept under that name: a plain relative path of ASCII letters, digits, `.`, `_`, `-`."""
    return _KEY.fullmatch(text) is not None and ".." not in PurePosixPath(text).parts


class FileStore:
    """Files under keys such as `jobs/<job>/<fence>/model.safetensors`. Every method blocks.

    Raises FileNotFoundError for a key that is not there, ValueError for a key that is no plain relative path, and where
    the store itself fails InsufficientStorageError (a full disk), TooManyOpenFilesError or StoreUnavailableError.
    """

    def __init__(self, files: Any, root: str, *, min_free_mb: int = 0) -> None:
        """Where the store is a folder of this machine, nothing is put that would leave its disk less room."""
        self._files, self._root = files, root.rstrip("/")
        self._min_free_mb = min_free_mb
        self._local = isinstance(files, LocalFileSystem)
        if self._local:
            Path(self._root).mkdir(parents=True, exist_ok=True, mode=0o700)

    @classmethod
    def from_settings(cls, settings: Settings) -> FileStore:
        """The folder `files` beside the images: of `blob_url`, or of the data folder."""
        if settings.server.blob_url:
            files, root = fsspec.core.url_to_fs(settings.server.blob_url)
            return cls(files, f"{root.rstrip('/')}/files", min_free_mb=settings.server.min_free_mb)
        files, root = fsspec.core.url_to_fs(str(settings.server.data_dir.expanduser() / "files"))
        return cls(files, root, min_free_mb=settings.server.min_free_mb)

    def put(self, key: str, source: Path) -> tuple[str, int]:
        """Keep a copy of the file `source`; its SHA-256 in hex and its size in bytes."""
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = source.stat().st_size
        with self._failing():
            if self._local:
                disk.check_room(Path(self._root), self._min_free_mb, what="files", more_bytes=size)
                self._copy_in(source, Path(self._path(key)))
            else:
                self._files.makedirs(self._path(key).rsplit("/", 1)[0], exist_ok=True)
                self._files.put_file(str(source), self._path(key))
        return digest, size

    def get(self, key: str, target: Path) -> None:
        """Copy the file into the local path `target`, whose folder is made."""
        with self._failing(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(self._path(key), str(target))

    def open(self, key: str) -> IO[bytes]:
        """Open the file for reading."""
        with self._failing():
            file: IO[bytes] = self._files.open(self._path(key), "rb")
            return file

    def size(self, key: str) -> int:
        """The size of the file in bytes."""
        with self._failing():
            return int(self._files.info(self._path(key))["size"])

    def exists(self, key: str) -> bool:
        """Whether the file is there."""
        with self._failing():
            return bool(self._files.exists(self._path(key)))

    def delete(self, prefix: str) -> None:
        """Forget the file, or every file below the key; nothing happens where there is none."""
        with self._failing():
            if self._local:
                path = Path(self._path(prefix))
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            elif self._files.exists(self._path(prefix)):
                self._files.rm(self._path(prefix), recursive=True)

    def children(self, prefix: str) -> list[str]:
        """Names right below a key, sorted; none where nothing is there."""
        with self._failing():
            self._files.invalidate_cache()
            try:
                found = self._files.ls(self._path(prefix), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(str(path).rstrip("/").rsplit("/", 1)[-1] for path in found)

    def _path(self, key: str) -> str:
        if not is_key(key):
            raise ValueError(f"not a key: {key!r}")
        return f"{self._root}/{key}"

    def _failing(self, writes_to: Path | None = None) -> AbstractContextManager[None]:
        return disk.naming_faults(Path(self._root) if self._local else None, "files", writes_to=writes_to)

    @staticmethod
    def _copy_in(source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with disk.writing_whole(target) as draft, source.open("rb") as file:
            shutil.copyfileobj(file, draft, 1 << 20)
