"""Whether a base model is still the one that something was trained over, told without loading it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from app.errors import VisionError
from app.families import files
from app.families.table import FAMILIES
from app.inference.sources import EncoderConfig, Kind


def base_fingerprint(word: str, config: EncoderConfig, *, vlm: bool) -> str | None:
    """The fingerprint of the model that the registry calls `word`; None where it is not on this machine.

    Blocks: hashes files that were not hashed before; fetches nothing.
    """
    try:
        kind: Kind = "vlm" if vlm else "encoder"
        source = FAMILIES.resolve(kind, word)
        if not source.location:
            return FAMILIES.get(source.family).fingerprint()
        located = FAMILIES.locate(kind, source, dataclasses.replace(config, allow_downloads=False))
        return files.fingerprint(Path(located.location), config.cache_dir)
    except (VisionError, OSError):
        return None
