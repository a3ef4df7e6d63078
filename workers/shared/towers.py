"""Image towers as torch modules whose weights may change: what training and exporting start from."""

from __future__ import annotations

from app.families.encoders import locate
from app.inference.family import ImageTower
from app.inference.sources import EncoderConfig
from app.settings import Settings


def image_tower(name: str, settings: Settings) -> ImageTower:
    """The image tower of the encoder that the registry calls `name`, in float32, on the CPU.

    Raises ModelNotFoundError, ModelUnavailableError, and ModelTaskError for a family without one.
    """
    config = EncoderConfig.from_settings(settings)
    family, source = locate(name, config)
    return family.image_tower(source, config)
