"""Every kind of pixel a file can hold, turned into upright 8-bit RGB the way a person would expect to see it.

Colour profiles are ignored on purpose: encoders were trained on images decoded that way.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.media.depth import DEEP_MODES, band_ranges, bands, to_eight_bits
from app.media.errors import InvalidImageError

_MIN_ALPHA = 8
"""Of 255: where no pixel is less transparent than that, nobody sees anything, and the colours were meant."""
_MIN_CONTRAST = 5
"""Of 255: an image whose samples differ less than that is a blank sheet to the eye."""

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
_TURNS: dict[Image.Transpose, tuple[Literal["swap"] | int | tuple[int, int], ...]] = {
    Image.Transpose.FLIP_LEFT_RIGHT: (1,),
    Image.Transpose.ROTATE_180: ((0, 1),),
    Image.Transpose.FLIP_TOP_BOTTOM: (0,),
    Image.Transpose.TRANSPOSE: ("swap",),
    Image.Transpose.ROTATE_270: ("swap", 1),
    Image.Transpose.TRANSVERSE: ("swap", (0, 1)),
    Image.Transpose.ROTATE_90: ("swap", 0),
}
"""The same by axes of an array: rows and columns swapped, then axes flipped. Pillow's angles are anticlockwise."""


def to_rgb(image: Image.Image) -> Image.Image:
    """A loaded image of any mode as RGB.

    Transparency is laid on white, as a page would show it, or on black where white would hide what is there. Where
    transparency hides everything, it counts for nothing: Windows' own bitmaps say 0 for opaque. Samples deeper than 8
    bits are scaled, not clipped (`app.media.depth`). CMYK, YCbCr and LAB go through Pillow's own conversions.

    Raises InvalidImageError for an image that shows nothing: no valid sample, or one colour under full transparency.
    """
    if image.mode in DEEP_MODES:
        image = to_eight_bits(image)
    if image.has_transparency_data:
        return _without_transparency(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _without_transparency(image: Image.Image) -> Image.Image:
    top_alpha = max(band_ranges(_alpha(band))[0][1] for _, band in bands(image))
    if top_alpha < _MIN_ALPHA:
        colours = Image.new("RGB", image.size)
        for top, band in bands(image):
            colours.paste(band.convert("RGBA").convert("RGB"), (0, top))
        if _is_blank(colours):
            raise InvalidImageError("The image is transparent everywhere, with nothing under it.")
        return colours
    for background in ("white", "black"):
        canvas = _lay_on(image, background)
        if not _is_blank(canvas):
            return canvas
        del canvas  # before the next one is made
    return _lay_on(image, "white")


def _lay_on(image: Image.Image, background: str) -> Image.Image:
    canvas = Image.new("RGB", image.size, background)
    for top, band in bands(image):
        band = band.convert("RGBA")
        canvas.paste(band, (0, top), band)
    return canvas


def _alpha(band: Image.Image) -> Image.Image:
    return band.getchannel("A") if band.mode in ("LA", "RGBA") else band.convert("RGBA").getchannel("A")


def _is_blank(image: Image.Image) -> bool:
    return all(high - low < _MIN_CONTRAST for low, high in band_ranges(image))


def turn_pixels(pixels: NDArray[np.uint8], turn: Image.Transpose) -> NDArray[np.uint8]:
    """uint8[h, w, 3] as `Image.transpose` turns an image."""
    for axes in _TURNS[turn]:
        pixels = pixels.swapaxes(0, 1) if axes == "swap" else np.flip(pixels, axes)
    return np.ascontiguousarray(pixels)


def orientation(image: Image.Image) -> Image.Transpose | None:
    """What makes the image upright by its EXIF; damaged EXIF counts as none, the pixels being good."""
    if image.format == "TIFF":  # Pillow applies it while loading
        return None
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever the parser meets in a client's bytes
        return None
