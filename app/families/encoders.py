"""How a name becomes a loaded encoder."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from app.families import FAMILIES, files
from app.families.encoder_source import adapted_note, resolve
from app.inference.family import Family
from app.inference.protocols import Encoder
from app.inference.sources import EncoderConfig, EncoderSource

__all__ = ["load_encoder", "locate", "resolve"]


def load_encoder(source: EncoderSource, config: EncoderConfig) -> Encoder:
    """Load weights and pick the runtime; blocks for seconds.

    Raises `ModelNotFoundError` when there are no such weights, `ModelUnavailableError` when they do not load,
    `BaseModelChangedError` when a trained model's base is not the one it was trained over.
    """
    note = adapted_note(Path(source.location)) if source.location else None
    if note is not None:
        return cast(Encoder, FAMILIES.get(source.family).load_adapted(source, note, config))
    family, source = locate(source, config)
    return cast(Encoder, family.load(source, config))


def locate(source: EncoderSource, config: EncoderConfig) -> tuple[Family, EncoderSource]:
    """The family of a whole encoder, by its files, and the encoder with these on this machine.

    Raises what `files.located` raises.
    """
    source = files.located(source, config)
    return FAMILIES.get(source.family), source
