"""JSON files of a model: bounded in size and depth, and without a key that stands twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydantic_core

from app.storage.errors import ArchiveError

_MIB = 1 << 20
_MAX_BYTES = {
    "tokenizer.json": 64 * _MIB,
    "vocab.json": 16 * _MIB,
    "model.safetensors.index.json": 16 * _MIB,
    "vision.json": 16 * _MIB,
}
"""The largest tokenizers, with 260,000 words and their merges, take 35 MiB."""
_MAX_OTHER_BYTES = 2 * _MIB
_MAX_TOTAL_BYTES = 112 * _MIB
MAX_TEXT_FILE_BYTES = 16 * _MIB
"""Largest `.txt`, `.md` and `.jinja`: merges of a large vocabulary take 5 MiB."""


def read_json_files(folder: Path, names: list[str]) -> dict[str, Any]:
    """What each file holds, by name. Raises ArchiveError.

    A key that stands twice is refused: readers differ in which of the two they take.
    """
    sizes = {name: (folder / name).stat().st_size for name in names}
    for name, size in sizes.items():
        most = _MAX_BYTES.get(name, _MAX_OTHER_BYTES)
        if size > most:
            raise ArchiveError(f"'{name[:100]}' is larger than {most // _MIB} MiB.")
    if sum(sizes.values()) > _MAX_TOTAL_BYTES:
        raise ArchiveError(f"The JSON files are larger than {_MAX_TOTAL_BYTES // _MIB} MiB together.")
    return {name: _read(folder / name, name) for name in names}


def _read(path: Path, name: str) -> Any:
    data = path.read_bytes()
    try:
        pydantic_core.from_json(data, allow_inf_nan=False)  # bounds the depth
        return json.loads(data, object_pairs_hook=_without_twins, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ArchiveError(f"'{name[:100]}' is no readable JSON.") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse_constant(text: str) -> None:
    raise ValueError(text)
