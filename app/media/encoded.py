"""JPEG files that a device may decode itself: which ones, and what of them is known before."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from app.media.images import ImageLimits, decode
from app.media.kinds import sniff
from app.media.modes import orientation
from app.media.safety import check_size, decoder_failures
from app.media.structure import check, is_baseline_jpeg, lacks_end

_TURNS = {
    None: 1,
    Image.Transpose.FLIP_LEFT_RIGHT: 2,
    Image.Transpose.ROTATE_180: 3,
    Image.Transpose.FLIP_TOP_BOTTOM: 4,
    Image.Transpose.TRANSPOSE: 5,
    Image.Transpose.ROTATE_270: 6,
    Image.Transpose.TRANSVERSE: 7,
    Image.Transpose.ROTATE_90: 8,
}
"""EXIF's number for what makes an image upright."""


@dataclass(frozen=True)
class EncodedJpeg:
    """A whole baseline JPEG that has passed the limits, not yet decoded."""

    data: bytes
    width: int
    """As it is stored, in pixels; `turn` may exchange the sides."""
    height: int
    turn: int
    """EXIF's orientation, 1 (upright) to 8."""


def as_encoded_jpeg(data: bytes, limits: ImageLimits) -> EncodedJpeg | None:
    """The file, where a device's decoder is known to read it as the CPU's does; None for every other.

    That is a baseline JPEG (8 bits, Huffman-coded, one scan) in YCbCr or grey that has its end marker. The same checks
    as before decoding on the CPU: raises InvalidImageError and ImageTooLargeError.
    """
    if sniff(data) != "JPEG" or not is_baseline_jpeg(data):
        return None
    check(data, "JPEG")
    if lacks_end(data):
        return None
    with decoder_failures("JPEG"), JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as image:
        check_size(image.size, limits.max_pixels, limits.max_side)
        if image.mode not in ("L", "RGB"):
            return None
        return EncodedJpeg(data, *image.size, _TURNS[orientation(image)])


def decode_encoded(file: EncodedJpeg) -> NDArray[np.uint8]:
    """uint8[h, w, 3], upright, on the CPU; raises InvalidImageError. Its limits were checked before."""
    limits = ImageLimits(max_pixels=file.width * file.height, max_side=max(file.width, file.height))
    return np.array(decode(file.data, limits))
