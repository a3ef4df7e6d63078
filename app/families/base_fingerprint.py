"""Whether a base model is still the one that something was trained over, told without loading it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from app.errors import VisionError
from app.families import FAMILIES, files
from app.families.encoder_source import family_in
from app.families.vlm_source import vlm_family_in
from app.inference.sources import EncoderConfig


def base_fingerprint(word: str, config: EncoderConfig, *, vlm: bool) -> str | None:
    """The fingerprint of the model that the registry calls `word`; None where it is not on this machine.

    Blocks: hashes files that were not hashed before; fetches nothing.
    """
    try:
        source = FAMILIES.resolve("vlm" if vlm else "encoder", word)
        if not source.location:
            return FAMILIES.get(source.family).fingerprint()
        offline = dataclasses.replace(config, allow_downloads=False)
        located = files.located(source, offline, vlm_family_in if vlm else family_in)
        return files.fingerprint(Path(located.location), config.cache_dir)
    except (VisionError, OSError):
        return None
