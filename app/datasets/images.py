"""A page of a dataset's examples, read from the manifest in the file store. Everything here blocks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from app.errors import InvalidInputError
from app.storage.files import FileStore


@dataclass(frozen=True)
class ManifestRow:
    """One example, and where in the manifest the next one begins."""

    image_sha256: str
    split: str
    label: str | None
    question: str | None
    answer: str | None
    end: int
    """Bytes from the manifest's beginning to the end of its line."""


def read_rows(
    files: FileStore, key: str, *, start: int, limit: int, label: str | None, split: str | None
) -> list[ManifestRow]:
    """At most `limit` examples from the byte `start` on; only of this label and this split where they are given.

    Raises InvalidInputError where no line begins at `start`, FileNotFoundError.
    """
    with files.open(key) as manifest:
        if start:
            manifest.seek(start - 1)
            if manifest.read(1) != b"\n":
                raise InvalidInputError("cursor: pass `next` of the page before as it is.")
        rows = []
        for row in _find_rows(manifest, start, label, split):
            rows.append(row)
            if len(rows) == limit:
                break
        return rows


def _find_rows(
    manifest: IO[bytes], start: int, label: str | None, split: str | None
) -> Iterator[ManifestRow]:
    # most lines of a large dataset are of other labels: a text that is not there costs less than parsing
    written = b"" if label is None else json.dumps(label).encode()
    end = start
    for line in manifest:
        end += len(line)
        if written not in line:
            continue
        row = json.loads(line)
        if label in (None, row.get("label")) and split in (None, row["split"]):
            yield ManifestRow(
                row["image"], row["split"], row.get("label"), row.get("question"), row.get("answer"), end
            )
