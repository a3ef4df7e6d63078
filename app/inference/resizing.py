"""Full-size RGB pixels to those of a model's input, still 8-bit: Pillow's resampling, or torch's, which is faster.

Without torch in the process, and for filters that torch lacks, Pillow does it.
"""

from __future__ import annotations

import math
import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.inference.preprocessing import BICUBIC, BILINEAR, Geometry, Preprocessing

Bytes = NDArray[np.uint8]

_TORCH_MODES = {BILINEAR: "bilinear", BICUBIC: "bicubic"}
_WIDEST_SUPPORT = 3
"""Pixels that a filter looks at on each side of its centre where nothing is scaled down; Lanczos has the most."""


def resize_by_pillow(image: Bytes | Image.Image, steps: Preprocessing) -> Bytes:
    """uint8[h, w, 3] or an RGB image to uint8[3, height, width], bit for bit as transformers' PIL backend resizes,
    crops and pads.
    """
    pixels = as_pixels(image)
    geometry = steps.geometry(*pixels.shape[:2])
    part, (top, left, bottom, right) = _around(pixels, geometry)
    height, width = geometry.resized
    resized = Image.fromarray(part).resize(
        (width, height), Image.Resampling(steps.resample), box=(left, top, right, bottom)
    )
    return cut_out(np.asarray(resized), geometry)


def _around(pixels: Bytes, geometry: Geometry) -> tuple[Bytes, tuple[float, float, float, float]]:
    """What the filter looks at of an image of which a part is resized, and where that part lies in it."""
    top, left, bottom, right = geometry.box
    if (bottom - top, right - left) == pixels.shape[:2]:
        return pixels, geometry.box
    reach = math.ceil(_WIDEST_SUPPORT * max((bottom - top) / geometry.resized[0], 1.0)) + 1
    above, before = max(math.floor(top) - reach, 0), max(math.floor(left) - reach, 0)
    part = pixels[above : math.ceil(bottom) + reach, before : math.ceil(right) + reach]
    return part, (top - above, left - before, bottom - above, right - before)


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


def resize_by_torch(image: Bytes, steps: Preprocessing) -> Bytes | None:
    """The same from uint8[h, w, 3] by torch's antialiased resampling of 8-bit pixels, in the calling thread.

    Values differ from Pillow's by 2 at most, save where both overshoot and at the edge of a `share`. None where torch
    is not loaded, lacks the filter, would have to cut between two pixels, which it cannot, or would enlarge a part of
    the image: it sees nothing beyond the part, which Pillow looks at, and the more an image grows the wider is that
    edge (a 16 x 16 image came out at a cosine of .92 with `lite`).
    """
    torch = sys.modules.get("torch")
    mode = _TORCH_MODES.get(steps.resample)
    geometry = steps.geometry(*image.shape[:2])
    if torch is None or mode is None or any(edge != int(edge) for edge in geometry.box):
        return None
    top, left, bottom, right = map(int, geometry.box)
    part = np.ascontiguousarray(image[top:bottom, left:right])
    is_enlarged = part.shape[0] < geometry.resized[0] or part.shape[1] < geometry.resized[1]
    if is_enlarged and part.shape != image.shape:
        return None
    if part.shape[:2] == geometry.resized:
        return cut_out(part, geometry)
    if not part.flags.writeable:  # torch warns of these, although nothing is written
        part = part.copy()
    batch = torch.from_numpy(part).permute(2, 0, 1).unsqueeze(0)
    with torch.inference_mode():
        resized = torch.nn.functional.interpolate(
            batch, size=geometry.resized, mode=mode, antialias=True, align_corners=False
        )
    return cut_out(resized[0].permute(1, 2, 0).numpy(), geometry)


def resize(image: Bytes | Image.Image, steps: Preprocessing) -> Bytes:
    """uint8[h, w, 3] or an RGB image to uint8[3, height, width] as `steps` say; thread-safe."""
    pixels = as_pixels(image)
    resized = resize_by_torch(pixels, steps)
    return resize_by_pillow(pixels, steps) if resized is None else resized


def normalise(pixels: Bytes, steps: Preprocessing) -> NDArray[np.float32]:
    """uint8[..., 3, h, w] to float32 of the same shape, as the weights expect it."""
    multiplier, offset = (
        np.array(three, np.float32)[:, None, None] for three in (steps.multiplier, steps.offset)
    )
    normalised: NDArray[np.float32] = pixels * multiplier
    normalised += offset
    return normalised


def as_picture(image: Bytes | Image.Image) -> Image.Image:
    """Pillow's image of uint8[h, w, 3]; one of Pillow's in mode RGB."""
    return image.convert("RGB") if isinstance(image, Image.Image) else Image.fromarray(image)


def as_pixels(image: Bytes | Image.Image) -> Bytes:
    """uint8[h, w, 3] of an image of any mode; an array is returned as it is."""
    return np.array(image.convert("RGB")) if isinstance(image, Image.Image) else image
