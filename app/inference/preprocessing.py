"""What becomes of RGB pixels before a model's weights see them: resized, cropped or padded, and normalised.

Sizes are those that transformers' PIL image processors compute: integers truncated where they truncate, since a size
that is off by one pixel moves grey levels by 3.6 on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

BILINEAR, BICUBIC = 2, 3
"""Pillow's numbers of the resampling filters, which image processors state; both are antialiased."""
_STEPS = ("process_image", "resize", "center_crop", "rescale", "normalize", "_preprocess")
_BACKEND = "PilBackend."

Triple = tuple[float, float, float]


class Geometry(NamedTuple):
    """How one image is brought to a model's size. Numbers are pixels; rows come before columns.

    The part `box` of the image becomes `resized`; the window of `kept` pixels whose corner is `corner` is cut out of
    that, and lies at `place` in an output that is black elsewhere.
    """

    box: tuple[float, float, float, float]
    """top, left, bottom, right in the image; fractions of pixels are meant as such."""
    resized: tuple[int, int]
    corner: tuple[int, int]
    kept: tuple[int, int]
    place: tuple[int, int]
    output: tuple[int, int]

    @property
    def is_padded(self) -> bool:
        """Whether some of the output is black because the image does not reach there."""
        return self.kept != self.output


@dataclass(frozen=True)
class Preprocessing:
    """What a checkpoint asks for. Exactly one of `shortest_edge`, `fixed` and `share` says how images are resized."""

    output: tuple[int, int]
    """Height and width that the weights see."""
    shortest_edge: int | None = None
    """The shorter side becomes this; the longer one keeps the ratio, truncated to whole pixels."""
    fixed: tuple[int, int] | None = None
    """Height and width whatever the image's ratio."""
    share: float | None = None
    """The middle square of this share of the shorter side becomes the output in one step."""
    resample: int = BICUBIC
    """One of Pillow's filters, by its number."""
    rescale: float = 1 / 255
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    """(value * `rescale` - `mean`) / `std` for each of red, green, blue."""

    def __post_init__(self) -> None:
        if sum(way is not None for way in (self.shortest_edge, self.fixed, self.share)) != 1:
            raise ValueError("images are resized in exactly one way")

    def geometry(self, height: int, width: int) -> Geometry:
        """The steps for an image of that size, as transformers' PIL backend computes them.

        Sources: `get_resize_output_image_size` and `center_crop` in transformers/image_transforms.py.
        """
        if self.share is not None:
            side = min(height, width) * self.share
            top, left = (height - side) / 2, (width - side) / 2
            box = (top, left, top + side, left + side)
            return Geometry(box, self.output, (0, 0), self.output, (0, 0), self.output)
        resized = self.fixed or self._keeping_ratio(height, width)
        corner, kept, place = zip(*map(_centre, resized, self.output), strict=True)
        whole = (0.0, 0.0, float(height), float(width))
        return Geometry(whole, resized, corner, kept, place, self.output)

    @property
    def resized_side(self) -> int:
        """The shorter side of what an image is resized to, before any crop."""
        if self.share is not None:
            return round(min(self.output) / self.share)
        return self.shortest_edge or min(self.fixed or self.output)

    @property
    def multiplier(self) -> Triple:
        """`value * multiplier + offset` normalises an 8-bit value; one number for each of red, green, blue."""
        return cast(Triple, tuple(self.rescale / std for std in self.std))

    @property
    def offset(self) -> Triple:
        """See `multiplier`."""
        return cast(Triple, tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True)))

    def _keeping_ratio(self, height: int, width: int) -> tuple[int, int]:
        edge = cast(int, self.shortest_edge)
        longer = int(edge * max(height, width) / min(height, width))
        return (longer, edge) if width <= height else (edge, longer)


def _centre(size: int, wanted: int) -> tuple[int, int, int]:
    """Where the kept part begins, how long it is, and where it lies in the output, along one axis."""
    if size >= wanted:
        return (size - wanted) // 2, wanted, 0
    return 0, size, -(-(wanted - size) // 2)


def of_processor(processor: Any) -> Preprocessing | None:
    """What an image processor of transformers' PIL backend does; None for one that does something else as well.

    Anything this returns None for is left to the processor itself: a class with steps of its own, padding, a bound on
    the longer side, or an output whose size follows the image's.
    """
    if not all(_is_plain(processor, step) for step in _STEPS):
        return None
    try:
        return _read(processor)
    except (AttributeError, TypeError, ValueError):
        return None


def _is_plain(processor: Any, step: str) -> bool:
    return str(getattr(getattr(type(processor), step, None), "__qualname__", "")).startswith(_BACKEND)


def _read(processor: Any) -> Preprocessing | None:
    size = processor.size
    if getattr(processor, "do_pad", False) or not processor.do_resize:
        return None
    if size.longest_edge or size.max_height or size.max_width:
        return None
    edge = int(size.shortest_edge) if size.shortest_edge else None
    fixed = None if edge else (int(size.height), int(size.width))
    output = fixed
    if processor.do_center_crop:
        output = (int(processor.crop_size.height), int(processor.crop_size.width))
    if output is None:
        return None
    resample = BILINEAR if processor.resample is None else int(processor.resample)
    return Preprocessing(
        output,
        edge,
        fixed,
        resample=resample,
        rescale=float(processor.rescale_factor) if processor.do_rescale else 1.0,
        mean=_triple(processor.image_mean) if processor.do_normalize else (0.0, 0.0, 0.0),
        std=_triple(processor.image_std) if processor.do_normalize else (1.0, 1.0, 1.0),
    )


def _triple(values: float | Sequence[float]) -> Triple:
    if isinstance(values, int | float):
        return (float(values),) * 3
    red, green, blue = (float(value) for value in values)
    return (red, green, blue)
