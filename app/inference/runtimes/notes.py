"""What was measured of a model on this machine, kept beside its engines."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime
import torch

log = logging.getLogger(__name__)

RECIPE = 3
"""Raised when export or choice changes, so that older caches are not read."""


class Note:
    """One outcome on disk; a note that cannot be read or written costs time only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """What was kept, or nothing."""
        try:
            kept = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}

    def write(self, outcome: dict[str, Any]) -> None:
        """Keep it, whole or not at all; the log says where it could not be kept, and it is measured again then."""
        draft = self.path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(outcome, indent=2) + "\n")
            os.replace(draft, self.path)
        except OSError as error:
            log.warning("what was measured of a model cannot be kept: %s", error)
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def note_in(folder: Path, kind: str, asked: str) -> Note:
    """The note of that kind for what was asked."""
    return Note(folder / f"{kind}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}.json")


def engines_folder(cache_dir: Path, fingerprint: str, *more: str) -> Path:
    """Where the engines and notes of an encoder lie on this machine; `more` is of the device."""
    return cache_dir / "engines" / f"{fingerprint}-{machine_key(*more)}"


def machine_key(*more: str) -> str:
    """Changes with anything that could change an engine or a measurement: versions, the processor, and `more`."""
    parts = (
        RECIPE,
        torch.__version__,
        onnxruntime.__version__,
        version("transformers"),
        platform.machine(),
        *more,
    )
    return hashlib.sha256(repr((parts, describe_processor())).encode()).hexdigest()[:8]


def describe_processor() -> list[str]:
    """Name and instruction sets of the processors, a line each; nothing where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
