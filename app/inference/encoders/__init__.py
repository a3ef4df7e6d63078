"""Image-and-text encoders: which families exist and how a name becomes a loaded encoder.

Knows the families and nothing of their insides; knows nothing of requests, batches or budgets.
"""

from __future__ import annotations

from pathlib import Path

from app.errors import ModelUnavailableError
from app.inference.encoders import files
from app.inference.encoders.adapted import load_adapted
from app.inference.encoders.hugging_face import ClipEncoder, SiglipEncoder
from app.inference.encoders.lite import LiteEncoder
from app.inference.encoders.source import EncoderConfig, EncoderSource, adapted_note, resolve
from app.inference.protocols import Encoder

FAMILIES: dict[str, type] = {"lite": LiteEncoder, "clip": ClipEncoder, "siglip": SiglipEncoder}
"""Family name -> class; a new family is one file and one line here."""

__all__ = ["FAMILIES", "EncoderConfig", "EncoderSource", "load_encoder", "resolve"]


def load_encoder(source: EncoderSource, config: EncoderConfig) -> Encoder:
    """Load weights and pick the runtime; blocks for seconds.

    Raises `ModelNotFoundError` when there are no such weights, `ModelUnavailableError` when they do not load.
    """
    if source.location and adapted_note(Path(source.location)) is not None:
        return load_adapted(source, config)
    source = files.located(source, config)
    family = FAMILIES.get(source.family)
    if family is None:
        raise ModelUnavailableError(f"There is no encoder family '{source.family}'.")
    encoder: Encoder = family(source, config)
    return encoder
