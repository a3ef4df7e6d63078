"""Full-size RGB pixels to those of a model's input, still 8-bit: Pillow's resampling, or torch's, which is faster.

Without torch in the process, and for filters that torch lacks, Pillow does it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.inference.preprocessing import Geometry, Preprocessing

Bytes = NDArray[np.uint8]


def resize_by_pillow(image: Bytes | Image.Image, steps: Preprocessing) -> Bytes:
    """uint8[h, w, 3] or an RGB image to uint8[3, height, width], bit for bit as transformers' PIL backend resizes,
    crops and pads.
    """
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    geometry = steps.geometry(picture.height, picture.width)
    top, left, bottom, right = geometry.box
    height, width = geometry.resized
    resized = picture.convert("RGB").resize(
        (width, height), Image.Resampling(steps.resample), box=(left, top, right, bottom)
    )
    return cut_out(np.asarray(resized), geometry)


def cut_out(resized: Bytes, geometry: Geometry) -> Bytes:
    """The model's input uint8[3, height, width] out of the resized image uint8[h, w, 3]."""
    (top, left), (height, width) = geometry.corner, geometry.kept
    window = resized[top : top + height, left : left + width].transpose(2, 0, 1)
    if not geometry.is_padded:
        return np.ascontiguousarray(window)
    output = np.zeros((3, *geometry.output), np.uint8)
    down, across = geometry.place
    output[:, down : down + height, across : across + width] = window
    return output
