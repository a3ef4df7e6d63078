"""Archives on their way to the service: a file as it is, or a folder that is packed as tar while it is sent."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llamafarm_vision.flows import Progress

CHUNK_BYTES = 1 << 18
_BLOCK_BYTES = tarfile.BLOCKSIZE
_TYPES = {
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".gz": "application/gzip",
    ".tgz": "application/gzip",
    ".bz2": "application/x-bzip2",
    ".tbz2": "application/x-bzip2",
    ".xz": "application/x-xz",
    ".txz": "application/x-xz",
}


@dataclass(frozen=True)
class Upload:
    """An archive's pieces, which can be read several times, their number of bytes, and what they are."""

    read: Callable[[], Iterator[bytes]]
    total: int
    content_type: str

    def report(self, progress: Progress | None) -> Callable[[], Iterator[bytes]]:
        """The same pieces; `progress` hears of each one that is sent."""
        if progress is None:
            return self.read

        def read() -> Iterator[bytes]:
            sent = 0
            for piece in self.read():
                yield piece
                sent += len(piece)
                progress(sent, self.total)

        return read


def open_upload(source: str | os.PathLike[str]) -> Upload:
    """A folder or an archive file as an upload; raises OSError where it cannot be read, ValueError for another file."""
    path = Path(source)
    if path.is_dir():
        return pack_folder(path, list_files(path))
    kind = _TYPES.get(path.suffix.lower())
    total = path.stat().st_size
    if kind is None:
        raise ValueError(f"{path} is no archive: pass a folder, or a file called {', '.join(_TYPES)}")

    def read() -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                yield piece

    return Upload(read, total, kind)


def list_files(folder: Path) -> list[Path]:
    """Every regular file below the folder that is not hidden, in order; links to folders are not followed."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(parent, name) for name in sorted(names) if not name.startswith("."))
        found += [path for path in paths if path.is_file()]
    if not found:
        raise FileNotFoundError(f"{folder} holds no files")
    return found


def pack_folder(folder: Path, files: Sequence[Path]) -> Upload:
    """The files of a folder as one tar, which neither the disk nor memory ever holds."""
    total = sum(
        len(_header(folder, path, size)) + _pad_size(size)
        for path, size in ((path, path.stat().st_size) for path in files)
    )

    def read() -> Iterator[bytes]:
        waiting = bytearray()  # small files go together: a piece is a write to the connection
        for path in files:
            for piece in _pack_file(folder, path):
                waiting += piece
                if len(waiting) >= CHUNK_BYTES:
                    yield bytes(waiting)
                    waiting.clear()
        yield bytes(waiting) + bytes(2 * _BLOCK_BYTES)

    return Upload(read, total + 2 * _BLOCK_BYTES, "application/x-tar")


def _header(folder: Path, path: Path, size: int) -> bytes:
    about = tarfile.TarInfo(path.relative_to(folder).as_posix())
    about.size = size
    return about.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _pack_file(folder: Path, path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        yield _header(folder, path, size)
        left = size
        while left:
            piece = file.read(min(CHUNK_BYTES, left))
            if not piece:
                raise OSError(f"{path} became shorter while it was sent")
            yield piece
            left -= len(piece)
        if _pad_size(size) > size:
            yield bytes(_pad_size(size) - size)


def _pad_size(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
