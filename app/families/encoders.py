"""Image-and-text encoders: which families exist and how a name becomes a loaded encoder.

Knows the families and nothing of their insides; knows nothing of requests, batches or budgets.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from app.families import files
from app.families.encoder_source import adapted_note, resolve
from app.inference.errors import ModelUnavailableError
from app.inference.protocols import Encoder
from app.inference.sources import EncoderConfig, EncoderSource

FAMILIES = {
    "lite": ("app.families.lite.encoder", "LiteEncoder"),
    "clip": ("app.families.clip.encoder", "ClipEncoder"),
    "siglip": ("app.families.clip.encoder", "SiglipEncoder"),
}
"""Family name -> module and class; a new family is one file and one line here. A module is imported with its first
encoder: the code of the models of transformers takes seconds that `lite` need not wait for."""

__all__ = ["FAMILIES", "EncoderConfig", "EncoderSource", "load_encoder", "resolve"]


def load_encoder(source: EncoderSource, config: EncoderConfig) -> Encoder:
    """Load weights and pick the runtime; blocks for seconds.

    Raises `ModelNotFoundError` when there are no such weights, `ModelUnavailableError` when they do not load.
    """
    if source.location and adapted_note(Path(source.location)) is not None:
        from app.families.adapted import load_adapted

        return load_adapted(source, config)
    source = files.located(source, config)
    family = FAMILIES.get(source.family)
    if family is None:
        raise ModelUnavailableError(f"There is no encoder family '{source.family}'.")
    module, name = family
    encoder: Encoder = getattr(importlib.import_module(module), name)(source, config)
    return encoder
