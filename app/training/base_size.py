"""How large a base model is, by the headers of its weights: no weight is read, and nothing is loaded."""

from __future__ import annotations

import json
import math
from pathlib import Path

_MAX_HEADER_BYTES = 16 << 20


def count_parameters(folder: Path) -> int | None:
    """Numbers in the safetensors files of a checkpoint; None where it has none, or none that can be read."""
    try:
        return sum(map(_count, folder.glob("model*.safetensors"))) or None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _count(file: Path) -> int:
    """https://huggingface.co/docs/safetensors: eight bytes of length, then a JSON header with each tensor's shape."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > _MAX_HEADER_BYTES:
            raise ValueError("the header is too long")
        header = json.loads(opened.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
