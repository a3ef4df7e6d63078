"""Samples deeper than 8 bits as 8-bit ones: which value is white, and which stand for "no data".

Nothing in most files says how many of their bits are used, or which number marks a missing sample, so both are found in
the samples themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from app.media.errors import InvalidImageError

DEEP_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})
_BAND = 1 << 20
"""Pixels converted at a time, so that the conversions need little memory beside the two images."""
_WHITES = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""The largest sample of 8, 10, 12, 14 and 16 bits."""
_MIN_SHARE = 16
"""Floats that stay below this part of the largest sample of any bits are stretched."""
_BITS_PER_SAMPLE, _GDAL_NODATA = 258, 42113
_NATIVE_SWAPPED = "B" if sys.byteorder == "little" else "L"
_LOWER_BITS = {
    **{
        f"{bands}{order}": f"{bands}{swapped}"
        for bands in ("RGB;16", "RGBA;16")
        for order, swapped in ("LB", "BL")
    },
    **{f"{bands}N": f"{bands}{_NATIVE_SWAPPED}" for bands in ("RGB;16", "RGBA;16")},
    "LA;16B": "RGBA",
}
"""By a file's layout, the one that reads the other half of its bytes."""
_FEW_BITS = 16383 >> 8
_HUGE = 1e30
"""Beyond any measurement: the largest floats stand for missing samples."""
_LOW_MARKS = dict.fromkeys((-999.0, -9999.0, -99999.0, -999999.0, -32767.0, -32768.0, -(2.0**31)), 0.25)
_HIGH_MARKS = dict.fromkeys((9999.0, 99999.0, 999999.0, 2.0**31 - 1), 1.0) | dict.fromkeys(
    (32767.0, 65535.0), 8.0
)
"""What mapping and measuring programs write where they have no value, and how far from the nearest other sample it lies
at least, as a share of the range of all others: a lamp in a dark photo reaches the largest sample too.
"""


def to_eight_bits(image: Image.Image) -> Image.Image:
    """A deep greyscale image as mode L.

    Black is 0, and white the largest sample of 8, 10, 12, 14 or 16 bits, whichever is the first that no sample exceeds;
    1 for floats within [0, 1]. Floats up to 16 and all other ranges are stretched to the largest sample. Missing
    samples become black: NaN, the value that GDAL's tag names, floats of 1e30 and beyond, and the usual marks such as
    -9999 where they lie apart from all other samples.

    Raises InvalidImageError where every sample is missing.
    """
    marks, low, high = _find_samples(image)
    if low >= 0:
        whites: tuple[float, ...] = _WHITES
        if image.mode == "F":
            whites = (1.0, *_WHITES)
        if getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE) == (12,):
            whites = (4095.0,)
        fitting = [white for white in whites if high <= white]
        if image.mode == "F" and fitting and 1 < high < fitting[0] / _MIN_SHARE:
            low, fitting = 0.0, []  # measurements a little above 1 are no 8-bit samples
        low, high = (0.0, fitting[0]) if fitting else (low, high)
    scale = 255.0 / (high - low) if high > low else 0.0
    result = Image.new("L", image.size)
    for top, band in bands(image):
        values = np.asarray(band, np.float64)
        valid = _valid(values, marks)
        values = np.where(valid, np.nan_to_num(values, nan=low, posinf=high, neginf=low), low)
        result.paste(
            Image.fromarray(np.clip((values - low) * scale + 0.5, 0, 255).astype(np.uint8)), (0, top)
        )
    return result


def bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Strips from top to bottom, each with its first row's number."""
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def band_ranges(image: Image.Image) -> list[tuple[int, int]]:
    """The smallest and the largest sample of each band of an 8-bit image."""
    ranges = image.getextrema() if len(image.getbands()) > 1 else (image.getextrema(),)
    return cast(list[tuple[int, int]], list(ranges))


def white_of(high: float) -> float:
    """The largest sample of the fewest bits that hold `high`."""
    return next(white for white in _WHITES if high <= white)


def _find_samples(image: Image.Image) -> tuple[frozenset[float], float, float]:
    """The finite values that stand for "no data", and the smallest and the largest of all others."""
    stated = str(getattr(image, "tag_v2", {}).get(_GDAL_NODATA, "")).strip("\0 ")
    try:
        marks = frozenset({float(stated)})
    except ValueError:
        marks = frozenset()
    low, high = _range(image, marks)
    for mark, gaps in ((low, _LOW_MARKS), (high, _HIGH_MARKS)):
        if mark not in gaps or low == high:
            continue
        next_low, next_high = _range(image, marks | {mark})
        distance = next_low - mark if mark == low else mark - next_high
        if next_high > next_low and distance > gaps[mark] * (next_high - next_low):
            marks, low, high = marks | {mark}, next_low, next_high
    return marks, low, high


def _valid(values: NDArray[np.float64], marks: frozenset[float]) -> NDArray[np.bool_]:
    """Which samples count; infinite ones do, as the largest or the smallest."""
    valid = (np.abs(values) < _HUGE) | np.isinf(values)
    for mark in marks:
        valid &= values != mark
    return valid


def _range(image: Image.Image, marks: frozenset[float]) -> tuple[float, float]:
    """The smallest and the largest finite sample that is not missing."""
    low, high = np.inf, -np.inf
    for _, band in bands(image):
        values = np.asarray(band, np.float64)
        finite = values[_valid(values, marks) & np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low > high:
        raise InvalidImageError("The image holds no valid sample: each is marked as missing.")
    return low, high


def deep_layout(image: ImageFile.ImageFile) -> str | None:
    """How a file that is not loaded yet lays out several 16-bit samples a pixel; None where it has none such.

    Pillow keeps the upper 8 bits of these, which is nothing where 10 or 12 bits of the 16 are used.
    """
    args = image.tile[0].args if image.tile else None
    layout = args[0] if isinstance(args, tuple) and args else args
    return layout if layout in _LOWER_BITS else None


def set_layout(image: ImageFile.ImageFile, layout: str) -> None:
    """Let the file be loaded as if its pixels were laid out like that."""
    image.tile = [
        tile._replace(args=(layout, *tile.args[1:]) if isinstance(tile.args, tuple) else layout)
        for tile in image.tile
    ]


def lower_layout(layout: str) -> str:
    """The layout by which Pillow keeps the lower 8 bits."""
    return _LOWER_BITS[layout]


def uses_few_bits(image: Image.Image) -> bool:
    """Whether the upper 8 bits of an RGB or RGBA image hold so little that its samples have 14 bits or fewer."""
    return max(high for _, high in band_ranges(image)[:3]) <= _FEW_BITS


def with_lower_bits(upper: Image.Image, lower: Image.Image, layout: str) -> Image.Image:
    """An RGB or RGBA image of its upper and its lower 8 bits, scaled so that the largest sample of as many bits as are
    used is white; alpha likewise.
    """
    highest = [0, 0]
    for _, samples in _join_bytes(upper, lower, layout):
        highest[0] = max(highest[0], int(samples[..., :3].max()))
        highest[1] = max(highest[1], int(samples[..., 3:].max(initial=0)))
    result = Image.new(upper.mode, upper.size)
    for top, samples in _join_bytes(upper, lower, layout):
        scaled = samples.astype(np.float64)
        scaled[..., :3] *= 255 / white_of(highest[0])
        scaled[..., 3:] *= 255 / white_of(highest[1])
        result.paste(Image.fromarray((scaled + 0.5).clip(0, 255).astype(np.uint8)), (0, top))
    return result


def _join_bytes(
    upper: Image.Image, lower: Image.Image, layout: str
) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    for (top, above), (_, below) in zip(bands(upper), bands(lower), strict=True):
        high, low = np.asarray(above).astype(np.uint16), np.asarray(below).astype(np.uint16)
        if layout.startswith("LA"):  # the lower one has both bytes of both samples
            grey, alpha = low[..., 0] * 256 + low[..., 1], low[..., 2] * 256 + low[..., 3]
            yield top, np.stack([grey, grey, grey, alpha], -1)
        else:
            yield top, high * 256 + low
