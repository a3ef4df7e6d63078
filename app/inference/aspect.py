"""Very long and thin images, cropped before a model's own preprocessing scales them up."""

from __future__ import annotations

from typing import TypeVar

from PIL import Image

from app.inference.protocols import Rgb

MAX_ASPECT = 16
"""Longer sides are cropped to this many times the shorter: scaling a 1 x 30,000 image up to a model's input
size would take gigabytes, and models see its middle at most."""

AnyImage = TypeVar("AnyImage", Image.Image, Rgb, Image.Image | Rgb)


def is_bounded(width: int, height: int) -> bool:
    """Whether the sides differ little enough."""
    return max(width, height) <= MAX_ASPECT * min(width, height)


def bound_aspect(image: AnyImage) -> AnyImage:
    """The middle of an image whose sides differ too much; of uint8[h, w, 3] a view."""
    height, width = (image.height, image.width) if isinstance(image, Image.Image) else image.shape[:2]
    if is_bounded(width, height):
        return image
    limit = MAX_ASPECT * min(width, height)
    kept = (min(width, limit), min(height, limit))
    left, top = (width - kept[0]) // 2, (height - kept[1]) // 2
    if isinstance(image, Image.Image):
        return image.crop((left, top, left + kept[0], top + kept[1]))
    return image[top : top + kept[1], left : left + kept[0]]
