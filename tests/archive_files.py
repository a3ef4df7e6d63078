"""Archives that tests are made from, as archivers of old systems write them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path


def raw_zip(
    path: Path, files: Mapping[bytes, bytes] | Sequence[bytes], *, flags: int = 0, extra: bytes = b""
) -> Path:
    """A zip of stored files whose names are these bytes; of empty ones where only names are given."""
    if not isinstance(files, Mapping):
        files = dict.fromkeys(files, b"")
    body, directory = b"", b""
    for name, data in files.items():
        sizes = struct.pack("<3L2H", zlib.crc32(data), len(data), len(data), len(name), len(extra))
        head = struct.pack("<5H", 20, flags, 0, 0, 0x21)
        directory += b"PK\1\2" + struct.pack("<H", 20) + head + sizes
        directory += struct.pack("<3H2L", 0, 0, 0, 0, len(body)) + name + extra
        body += b"PK\3\4" + head + sizes + name + extra + data
    end = struct.pack("<4H2LH", 0, 0, len(files), len(files), len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\5\6" + end)
    return path
