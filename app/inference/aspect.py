"""Very long and thin images, cropped before a model's own preprocessing scales them up."""

from __future__ import annotations

from PIL import Image

MAX_ASPECT = 16
"""Longer sides are cropped to this many times the shorter: scaling a 1 x 30,000 image up to a model's input
size would take gigabytes, and models see its middle at most."""


def is_bounded(width: int, height: int) -> bool:
    """Whether the sides differ little enough."""
    return max(width, height) <= MAX_ASPECT * min(width, height)


def bounded(image: Image.Image) -> Image.Image:
    """The middle of an image whose sides differ too much."""
    width, height = image.size
    if is_bounded(width, height):
        return image
    limit = MAX_ASPECT * min(width, height)
    kept = (min(width, limit), min(height, limit))
    left, top = (width - kept[0]) // 2, (height - kept[1]) // 2
    return image.crop((left, top, left + kept[0], top + kept[1]))
