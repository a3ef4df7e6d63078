"""Whether a base model is still the one that something was trained over, told without loading it.

Knows where each family's weights lie; knows nothing of what was trained.
"""

from __future__ import annotations

from pathlib import Path

from app.errors import VisionError
from app.families import files
from app.families.encoders import resolve
from app.families.lite import encoder as lite
from app.families.vlm_source import vlm_family_in
from app.families.vlms import resolve_vlm
from app.inference.sources import EncoderConfig


def base_fingerprint(word: str, config: EncoderConfig, *, vlm: bool) -> str | None:
    """The fingerprint of the model that the registry calls `word`; None where it is not on this machine.

    Blocks: hashes files that were not hashed before; fetches nothing.
    """
    try:
        source = resolve_vlm(word) if vlm else resolve(word)
        if source.family == "lite" and not vlm:
            return lite.fingerprint()
        offline = EncoderConfig(**{**vars(config), "allow_downloads": False})
        located = files.located(source, offline, vlm_family_in) if vlm else files.located(source, offline)
        return files.fingerprint(Path(located.location), config.cache_dir)
    except (VisionError, OSError):
        return None
