"""Every kind of pixel a file can hold, turned into upright 8-bit RGB the way a person would expect to see it.

Knows nothing of files, limits or models. Colour profiles are ignored on purpose: encoders were trained on
images decoded that way.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

_DEEP_MODES = {"I;16", "I;16L", "I;16B", "I;16N", "I", "F"}
_BAND = 1 << 20
"""Pixels converted at a time, so that the conversions need little memory beside the two images."""
_BITS_PER_SAMPLE = 258

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_rgb(image: Image.Image) -> Image.Image:
    """A loaded image of any mode as RGB.

    Transparency is laid on white, as a page would show it. Samples deeper than 8 bits are scaled, not clipped
    (see `_eight_bits`). CMYK, YCbCr and LAB go through Pillow's own conversions.
    """
    if image.mode in _DEEP_MODES:
        image = _eight_bits(image)
    if image.has_transparency_data:
        canvas = Image.new("RGB", image.size, "white")
        for top, band in _bands(image):
            band = band.convert("RGBA")
            canvas.paste(band, (0, top), band)
        return canvas
    return image if image.mode == "RGB" else image.convert("RGB")


def orientation(image: Image.Image) -> Image.Transpose | None:
    """What makes the image upright by its EXIF; damaged EXIF counts as none, the pixels being good."""
    if image.format == "TIFF":  # Pillow applies it while loading
        return None
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever the parser meets in a client's bytes
        return None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Deep greyscale to mode L.

    16-bit samples count from 0 to 65,535 (12-bit TIFF samples to 4,095). 32-bit integers and floats have no
    agreed white, so: all within [0, 1] (floats), [0, 255] or [0, 65535] is taken as that range, anything else
    is stretched from its smallest to its largest finite value.
    """
    low, high = 0.0, 65535.0
    if image.mode in ("I", "F"):
        low, high = _range(image)
    elif getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE) == (12,):
        high = 4095.0
    scale = 255.0 / (high - low) if high > low else 0.0
    result = Image.new("L", image.size)
    for top, band in _bands(image):
        values = np.nan_to_num(np.asarray(band, np.float64), nan=low, posinf=high, neginf=low)
        result.paste(
            Image.fromarray(np.clip((values - low) * scale + 0.5, 0, 255).astype(np.uint8)), (0, top)
        )
    return result


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Strips from top to bottom, each with its first row's number."""
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _range(image: Image.Image) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for _, band in _bands(image):
        values = np.asarray(band)
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low >= 0:
        for white in (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0):
            if high <= white:
                return 0.0, white
    return low, high
