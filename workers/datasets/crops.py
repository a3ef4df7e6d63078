"""Boxes cut out of the pixels they were drawn on: before any reduction, and in the space that the annotation names."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass

from PIL import Image

from app.media.errors import InvalidImageError
from app.media.images import ImageLimits, decode_with_turn
from workers.datasets.records import SHARES, Box

SCALED = "boxes scaled to an image of another size than their annotation names"
CLIPPED = "boxes that reach beyond their image, cut at its edge"
TURNED = "boxes drawn on the image as it is stored, turned with it as its EXIF says"
ASSUMED = "boxes without width and height of their image, taken as drawn on it as its EXIF turns it"
_MAX_ASPECT_DIFFERENCE = 0.02
"""Of the aspect ratio after scaling and rounding; a side of 50 pixels rounds by 2 % at most."""
_QUARTER_TURNS = frozenset(
    {
        Image.Transpose.ROTATE_90,
        Image.Transpose.ROTATE_270,
        Image.Transpose.TRANSPOSE,
        Image.Transpose.TRANSVERSE,
    }
)


@dataclass(frozen=True)
class Crop:
    """A region as PNG, and what had to be done to its box."""

    png: bytes
    changes: tuple[str, ...]


@dataclass(frozen=True)
class _DecodedImage:
    data: bytes
    image: Image.Image
    """Upright RGB."""
    turn: Image.Transpose | None
    """What made it upright."""


class Cropper:
    """Cuts boxes out of images. Each thread keeps the last one decoded, since an image's boxes follow each other."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._last = threading.local()

    def cut(self, data: bytes, box: Box) -> Crop:
        """The region of an image file's bytes; raises InvalidImageError where the box is not of this image, and what
        decoding raises.
        """
        decoded: _DecodedImage | None = getattr(self._last, "decoded", None)
        if decoded is None or decoded.data != data:
            self._last.decoded = decoded = _DecodedImage(data, *decode_with_turn(data, self._limits))
        placed, done = _place_box(box, decoded.image.size, decoded.turn)
        width, height = decoded.image.size
        left, top = round(placed.left), round(placed.top)
        right, bottom = round(placed.left + placed.width), round(placed.top + placed.height)
        inside = max(0, left), max(0, top), min(width, right), min(height, bottom)
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            outside = left >= width or top >= height or right <= 0 or bottom <= 0
            raise InvalidImageError(
                "its box lies outside the image" if outside else "its box is less than a pixel"
            )
        if inside != (left, top, right, bottom):
            done.append(CLIPPED)
        buffer = io.BytesIO()
        decoded.image.crop(inside).save(buffer, "PNG", compress_level=1)
        return Crop(buffer.getvalue(), tuple(done))


def _place_box(box: Box, size: tuple[int, int], turn: Image.Transpose | None) -> tuple[Box, list[str]]:
    """The box in pixels of the upright image; raises InvalidImageError where its image is not this one."""
    if box.drawn_on == SHARES:
        return _scale_box(box, size), []
    if box.drawn_on is None:
        return box, [ASSUMED] if turn is not None else []
    stored = (size[1], size[0]) if turn in _QUARTER_TURNS else size
    upright, turned = (
        box.drawn_on == space or (box.drawn_on not in (size, stored) and _fits(box.drawn_on, space))
        for space in (size, stored)
    )
    turned = turned and turn is not None
    if upright and turned:
        raise InvalidImageError(
            "its box may be of the image as it is stored or as EXIF turns it: both have its size"
        )
    if not upright and not turned:
        width, height = box.drawn_on
        raise InvalidImageError(
            f"its boxes were drawn on an image of another shape: '{width:g} x {height:g}, not {size[0]} x {size[1]}'"
        )
    space = size if upright else stored
    done = [SCALED] if box.drawn_on != space else []
    box = _scale_box(box, space)
    if not upright and turn is not None:
        box = _turn_box(box, stored, turn)
        done.append(TURNED)
    return box, done


def _fits(drawn_on: tuple[float, float], size: tuple[int, int]) -> bool:
    """Whether both are the same image, as large or scaled."""
    width, height = drawn_on[0] / size[0], drawn_on[1] / size[1]
    slack = max(_MAX_ASPECT_DIFFERENCE, 1 / min(*drawn_on, *size))
    return abs(width / height - 1) <= slack if width > 0 and height > 0 else False


def _scale_box(box: Box, size: tuple[int, int]) -> Box:
    width, height = box.drawn_on or size
    x, y = size[0] / width, size[1] / height
    return Box(box.left * x, box.top * y, box.width * x, box.height * y)


def _turn_box(box: Box, stored: tuple[int, int], turn: Image.Transpose) -> Box:
    """The box after its image of the `stored` size was turned."""
    width, height = stored
    right, bottom = width - box.left - box.width, height - box.top - box.height
    moved = {
        Image.Transpose.FLIP_LEFT_RIGHT: (right, box.top),
        Image.Transpose.FLIP_TOP_BOTTOM: (box.left, bottom),
        Image.Transpose.ROTATE_180: (right, bottom),
        Image.Transpose.ROTATE_90: (box.top, right),
        Image.Transpose.ROTATE_270: (bottom, box.left),
        Image.Transpose.TRANSPOSE: (box.top, box.left),
        Image.Transpose.TRANSVERSE: (bottom, right),
    }[turn]
    sides = (box.height, box.width) if turn in _QUARTER_TURNS else (box.width, box.height)
    return Box(*moved, *sides)
