"""How far a faster runtime strays from float32 torch, on made-up images with the statistics of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from app.inference.protocols import Vectors

SIDE = 320
SQUARE = ((SIDE, SIDE),)
MIXED = (
    (SIDE, SIDE),
    (480, 640),
    (353, 481),
    (333, 250),
    (256, 256),
    (97, 131),
    (675, 450),
    (301, 640),
    (32, 32),
)
"""Height and width: landscape and portrait, odd numbers, some that are scaled up."""


MIN_MEAN_COSINE, MIN_COSINE = 0.998, 0.99
"""Of vectors of images prepared in another way to those of what the checkpoint's own processor prepares, on average and
at worst.
"""


class Parity(NamedTuple):
    """Cosines between two runtimes' unit vectors of the same images."""

    mean: float
    least: float

    @property
    def is_close(self) -> bool:
        """Whether images may be prepared in that way."""
        return self.mean >= MIN_MEAN_COSINE and self.least >= MIN_COSINE


def compare(reference: Vectors, other: Vectors) -> Parity:
    """Both float32[n, d] of unit norm, row by row; a vector that is not finite counts as cosine -1."""
    cosines = np.sum(reference * other, axis=1)
    cosines = np.where(np.isfinite(cosines), cosines, -1.0)
    return Parity(float(cosines.mean()), float(cosines.min()))


def images(count: int, sizes: Sequence[tuple[int, int]] = SQUARE) -> list[Image.Image]:
    """The same RGB images each time, of `sizes` in turn: coloured 1/f noise, shapes over it, light falling off.

    Photographs have amplitude spectra of about 1/f (Field 1987) and channels that mostly move together;
    shapes with sharp and soft edges stand in for objects.
    """
    return [_image(np.random.default_rng(seed), *sizes[seed % len(sizes)]) for seed in range(count)]


def _image(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing="ij"))
    amplitude = 1.0 / np.maximum(frequency, 1.0 / max(height, width)) ** rng.uniform(0.9, 1.3)
    phases = np.exp(2j * np.pi * rng.random((3, *frequency.shape)))
    noise = np.fft.irfft2(amplitude * phases, s=(height, width))
    noise /= noise.std()
    shared = np.array([[1.0, 0.25, 0.1], [1.0, 0.0, 0.1], [1.0, -0.25, 0.1]])
    field = np.einsum("ck,khw->hwc", shared, noise)
    pixels = np.clip(rng.uniform(70, 170, 3) + rng.uniform(25, 55) * field, 0, 255).astype(np.uint8)
    canvas = Image.fromarray(pixels)
    for _ in range(int(rng.integers(2, 6))):
        layer = Image.new("L", canvas.size)
        draw = ImageDraw.Draw(layer)
        left, top = rng.uniform(-0.1, 0.7, 2) * (width, height)
        right, bottom = left + rng.uniform(0.1, 0.6) * width, top + rng.uniform(0.1, 0.6) * height
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((left, top, right, bottom), fill=int(rng.integers(120, 256)))
        layer = layer.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 3))))
        canvas.paste(tuple(int(v) for v in rng.integers(0, 256, 3)), (0, 0), layer)
    light = np.linspace(rng.uniform(0.6, 1.0), rng.uniform(0.8, 1.2), width)[None, :, None]
    return Image.fromarray(np.clip(np.asarray(canvas) * light, 0, 255).astype(np.uint8))
