"""Changed copies of examples that keep their label: turned, brighter or darker, noisy, cropped, mirrored if asked."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance
from pydantic import BaseModel, ConfigDict, Field

_TILE = 160
_MARGIN = 6
_FILL = (127, 127, 127)


class AugmentationSettings(BaseModel):
    """How far a copy may stray from its example; 0 switches a change off."""

    model_config = ConfigDict(extra="forbid")

    rotation: float = Field(
        10.0,
        ge=0,
        le=180,
        description="Largest turn to either side, in degrees; the largest upright part is kept.",
    )
    brightness: float = Field(
        0.2,
        ge=0,
        le=0.9,
        description="Largest change of brightness and, independently, of contrast, as a share.",
    )
    noise: float = Field(
        0.02,
        ge=0,
        le=0.5,
        description="Largest standard deviation of the Gaussian noise, as a share of full scale.",
    )
    crop: float = Field(
        0.25,
        ge=0,
        le=0.9,
        description="Largest share of the area that a crop leaves out before it is resized.",
    )
    flip: bool = Field(
        False, description="Mirror every other copy left to right: only where that keeps the label."
    )


OFF = AugmentationSettings(rotation=0, brightness=0, noise=0, crop=0, flip=False)
"""Changes nothing."""


def augment(image: Image.Image, rng: np.random.Generator, settings: AugmentationSettings) -> Image.Image:
    """A changed copy of an RGB image, of the same size; the same generator state gives the same copy.

    Random resized crops after Szegedy et al. (2015), with the aspect ratio within 3:4 to 4:3.
    """
    result = image
    if settings.flip and rng.random() < 0.5:
        result = result.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if settings.rotation:
        result = _rotate(result, float(rng.uniform(-settings.rotation, settings.rotation)))
    if settings.crop:
        result = _crop(result, rng, settings.crop)
    if result.size != image.size:
        result = result.resize(image.size, Image.Resampling.BICUBIC)
    if settings.brightness:
        low, high = 1 - settings.brightness, 1 + settings.brightness
        result = ImageEnhance.Brightness(result).enhance(float(rng.uniform(low, high)))
        result = ImageEnhance.Contrast(result).enhance(float(rng.uniform(low, high)))
    if settings.noise:
        result = _noisy(result, rng, float(rng.uniform(0, settings.noise)))
    return result


def contact_sheet(image: Image.Image, count: int, settings: AugmentationSettings, seed: int) -> Image.Image:
    """The example, framed, and `count` changed copies of it, in a grid of small tiles."""
    rng = np.random.default_rng(seed)
    tiles = [image, *(augment(image, rng, settings) for _ in range(count))]
    columns = min(math.ceil(math.sqrt(len(tiles))), 8)
    rows = math.ceil(len(tiles) / columns)
    step = _TILE + _MARGIN
    sheet = Image.new("RGB", (columns * step + _MARGIN, rows * step + _MARGIN), "white")
    for index, tile in enumerate(tiles):
        small = tile.copy()
        small.thumbnail((_TILE, _TILE))
        left, top = _MARGIN + index % columns * step, _MARGIN + index // columns * step
        sheet.paste(small, (left, top))
        if index == 0:
            frame = (left - 3, top - 3, left + small.width + 2, top + small.height + 2)
            ImageDraw.Draw(sheet).rectangle(frame, outline="firebrick", width=3)
    return sheet


def _rotate(image: Image.Image, degrees: float) -> Image.Image:
    """Turned about the middle; of the result the largest upright rectangle of the same shape without corners."""
    width, height = image.size
    turned = image.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=_FILL)
    angle = math.radians(abs(degrees) % 180)
    sine, cosine = math.sin(angle), abs(math.cos(angle))
    # a rectangle of shape w:h inside the turned one touches its sides when scaled by this
    scale = min(width / (width * cosine + height * sine), height / (width * sine + height * cosine))
    wide, high = max(int(width * scale), 1), max(int(height * scale), 1)
    left, top = (turned.width - wide) // 2, (turned.height - high) // 2
    return turned.crop((left, top, left + wide, top + high))


def _crop(image: Image.Image, rng: np.random.Generator, most: float) -> Image.Image:
    width, height = image.size
    area = width * height * float(rng.uniform(1 - most, 1))
    shape = math.exp(float(rng.uniform(math.log(3 / 4), math.log(4 / 3)))) * width / height
    wide = min(max(round(math.sqrt(area * shape)), 1), width)
    high = min(max(round(math.sqrt(area / shape)), 1), height)
    left, top = int(rng.integers(0, width - wide + 1)), int(rng.integers(0, height - high + 1))
    return image.crop((left, top, left + wide, top + high))


def _noisy(image: Image.Image, rng: np.random.Generator, sigma: float) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    noise = rng.normal(0, 255 * sigma, pixels.shape).astype(np.float32)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
