"""Ordinary JPEGs by libjpeg-turbo straight into an array: what Pillow makes of them, without its copies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import simplejpeg
from numpy.typing import NDArray

SCALES = (4, 2)
"""Decoding at these fractions is cheaper than in full; 5/8 and 3/4 cost more, and images that could be decoded at an
eighth are too large to be tried with when a model is loaded (`app.inference.runtimes.pixel_gate`)."""


def decode(
    data: bytes,
    size: tuple[int, int],
    factor: int = 1,
    place: Callable[[int, int], NDArray[np.uint8]] | None = None,
) -> NDArray[np.uint8] | None:
    """uint8[h, w, 3] of a JPEG of `size` (height, width) at 1/`factor` of it (1, 2 or 4), rounded up.

    `place(height, width)` gives the memory that it is written to and that is returned; else it has its own.
    None where the library refuses or warns, or finds another size: whatever is wrong is for Pillow to tell.
    """
    height, width = (-(-side // factor) for side in size)
    target = None if place is None else place(height, width)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, "RGB", min_height=height, min_width=width, min_factor=factor, buffer=target, strict=True
        )
    except (ValueError, RuntimeError):
        return None
    if pixels.shape != (height, width, 3):
        return None
    return pixels if target is None else target


def factor_for(size: tuple[int, int], min_side: int | None) -> int:
    """By how much an image of that size may be reduced so that its shorter side keeps `min_side`."""
    if not min_side:
        return 1
    return next((factor for factor in SCALES if min(size) // factor >= min_side), 1)
