"""The numbers of a safetensors file: bounded in count and kind, and finite, read a few MiB at a time."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from app.errors import InvalidInputError
from app.storage.errors import ArchiveError

MAX_HEADER_BYTES = 16 << 20
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 8
_CHUNK = 4 << 20
_KINDS = frozenset({"F32", "F16", "BF16", "I64", "I32", "U8", "BOOL"})
_EXPONENTS = {"F32": (np.uint32, 0x7F800000), "F16": (np.uint16, 0x7C00), "BF16": (np.uint16, 0x7F80)}
"""Bits that are all set in what is no finite number (IEEE 754; bfloat16 is the upper half of float32)."""


def check_tensors(path: Path) -> None:
    """Look at every tensor.

    Raises ArchiveError for what is no whole safetensors file, InvalidInputError for types that are not served and
    for numbers that are not finite.
    """
    header, start = _read_header(path)
    for name, about in header.items():
        kind, shape = about["dtype"], about["shape"]
        if kind not in _KINDS:
            raise InvalidInputError(
                f"{path.name}: '{name[:100]}' is of type {str(kind)[:20]}, which is not served."
            )
        if len(shape) > MAX_DIMENSIONS:
            raise InvalidInputError(f"{path.name}: '{name[:100]}' has more than {MAX_DIMENSIONS} dimensions.")
        count = math.prod(shape)
        if kind in _EXPONENTS and not _is_finite(path, start + about["data_offsets"][0], count, kind):
            raise InvalidInputError(f"{path.name}: '{name[:100]}' holds numbers that are not finite.")


def count_numbers(path: Path) -> int:
    """How many numbers the file holds, from its header alone; raises ArchiveError."""
    return sum(math.prod(about["shape"]) for about in _read_header(path)[0].values())


def read_shapes(path: Path) -> dict[str, list[int]]:
    """The shape of each tensor by its name, from the header alone; raises ArchiveError."""
    return {name: about["shape"] for name, about in _read_header(path)[0].items()}


def _read_header(path: Path) -> tuple[dict[str, dict], int]:  # type: ignore[type-arg]
    """What each tensor is like, and where the numbers begin; the library has checked shapes and offsets."""
    damaged = ArchiveError(f"'{path.name}' is no whole safetensors file.")
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MAX_HEADER_BYTES:
                raise ArchiveError(
                    f"The header of '{path.name}' is larger than {MAX_HEADER_BYTES >> 20} MiB."
                )
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise damaged
        header.pop("__metadata__", None)
        if len(header) > MAX_TENSORS:
            raise InvalidInputError(f"{path.name}: it holds more than {MAX_TENSORS} tensors.")
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, struct.error, ValueError, RecursionError):
        raise damaged from None
    return header, 8 + length


def _is_finite(path: Path, offset: int, count: int, kind: str) -> bool:
    word, mask = _EXPONENTS[kind]
    with path.open("rb") as file:
        file.seek(offset)
        while count > 0:
            numbers = np.fromfile(file, word, min(count, _CHUNK))
            if not len(numbers) or bool(np.any((numbers & word(mask)) == mask)):
                return False
            count -= len(numbers)
    return True
