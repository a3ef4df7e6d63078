"""Bursts: the same picture several times in a second, as a phone takes them or a film shows them."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator

from PIL import Image, ImageEnhance

from benchmarks.image_sets.definitions import Labelled

FRAMES = 5
"""Of a burst: the picture itself and what a hand that shakes makes of it."""
PER_LABEL = 4
"""The first so many pictures of every label are taken as bursts."""
_MAX_SHIFT = 0.01
"""Of an edge, at most, by which each side of the crop moves in."""
_MAX_LIGHT = 0.04
_MIN_QUALITY = 85


def shoot(images: Callable[[], Labelled]) -> Iterator[tuple[Image.Image, int]]:
    """`FRAMES` frames of each of the first `PER_LABEL` pictures a label, the picture itself first."""
    rng = random.Random(11)
    taken: dict[int, int] = {}
    for image, label in images():
        taken[label] = taken.get(label, 0) + 1
        if taken[label] <= PER_LABEL:
            yield image, label
            for _ in range(FRAMES - 1):
                yield shake(image, rng), label


def shake(image: Image.Image, rng: random.Random) -> Image.Image:
    """Cropped, relit and saved as a JPEG, all of it slightly and by chance; of the same size."""
    width, height = image.size
    left, top, right, bottom = (rng.uniform(0.0, _MAX_SHIFT) for _ in range(4))
    box = (left * width, top * height, (1.0 - right) * width, (1.0 - bottom) * height)
    frame = image.resize(image.size, Image.Resampling.BICUBIC, box=box)
    frame = ImageEnhance.Brightness(frame).enhance(rng.uniform(1.0 - _MAX_LIGHT, 1.0 + _MAX_LIGHT))
    sink = io.BytesIO()
    frame.save(sink, "JPEG", quality=rng.randint(_MIN_QUALITY, 95))
    return Image.open(sink).convert("RGB")
