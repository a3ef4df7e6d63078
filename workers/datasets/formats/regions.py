"""Regions with a category, from whatever format: the label of the whole image, or an example for each box."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.folders.splits import Split
from workers.datasets.formats.source import Boxes, shorten
from workers.datasets.records import Box, Found, Record, Refusal, Remark, to_plain

CROWDS = "regions of crowds (iscrowd) left out, which are not one object"
_MAX_COORDINATE = 1e9
"""Pixels: no box of any image lies farther out."""


@dataclass(frozen=True)
class Region:
    """A category, and where in the image it shows; `box` is None for a box that is not four numbers."""

    label: str
    box: Box | None
    is_crowd: bool = False


def to_box(values: Any, drawn_on: tuple[Any, Any] | None = None) -> Box | None:
    """A box of left, top, width and height; None where these are not four finite numbers."""
    numbers = to_numbers(values)
    if numbers is None or len(numbers) != 4:
        return None
    sides = to_numbers(drawn_on)
    known = sides is not None and len(sides) == 2 and min(sides) > 0
    left, top, width, height = numbers
    return Box(left, top, width, height, (sides[0], sides[1]) if known and sides else None)


def to_corners(values: Any, drawn_on: tuple[Any, Any] | None = None) -> Box | None:
    """A box of left, top, right and bottom, in either order of the corners."""
    numbers = to_numbers(values)
    if numbers is None or len(numbers) != 4:
        return None
    left, top, right, bottom = numbers
    return to_box([min(left, right), min(top, bottom), abs(right - left), abs(bottom - top)], drawn_on)


def to_numbers(values: Any) -> list[float] | None:
    """Finite numbers, also where they are written as text; None where one is none."""
    if not isinstance(values, list | tuple):
        return None
    found = []
    for value in values:
        try:
            number = float(value) if isinstance(value, int | float | str) else math.nan
        except (ValueError, OverflowError):
            return None
        if not abs(number) < _MAX_COORDINATE:  # which NaN is not
            return None
        found.append(number)
    return found


def read_regions(path: str, split: Split | None, regions: Sequence[Region], boxes: Boxes) -> Found:
    """The examples of one image."""
    if boxes == "crops":
        for region in regions:
            yield _crop(path, split, region)
        return
    labels = {region.label for region in regions}
    if len(labels) > 1:
        yield Refusal(path, "shows several categories: use crops")
    elif labels:
        yield Record(path, split, label=shorten(labels.pop()))


def _crop(path: str, split: Split | None, region: Region) -> Record | Refusal | Remark:
    box = region.box
    if region.is_crowd:
        return Remark(CROWDS, 1)
    if box is None:
        return Refusal(path, f"the box of '{region.label}' is not four numbers")
    if box.width <= 0 or box.height <= 0:
        return Refusal(path, f"the box of '{region.label}' has no area")
    return Record(path, split, label=shorten(region.label), box=box)


class RegionStore:
    """Regions of images that come in any order, in a scratch file of SQLite's own: one image's are given together."""

    def __init__(self) -> None:
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.execute("CREATE TABLE regions (path, split, label, x, y, width, height, wide, high)")
        self._base.execute("BEGIN")

    def add(self, path: str, split: Split | None, region: Region) -> None:
        """Remember a region of an image until all are known."""
        box = region.box
        numbers = (box.left, box.top, box.width, box.height) if box else (None,) * 4
        sides = (box.drawn_on or (None, None)) if box else (None, None)
        self._base.execute(
            "INSERT INTO regions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (path, split, to_plain(region.label), *numbers, *sides),
        )

    def images(self) -> Iterator[tuple[str, Split | None, list[Region]]]:
        """Each image with its regions, sorted by path. The store is empty and closed afterwards."""
        found: list[Region] = []
        before: tuple[str, Split | None] | None = None
        for path, split, label, left, top, width, height, wide, high in self._base.execute(
            "SELECT * FROM regions ORDER BY path, split, rowid"
        ):
            if before not in (None, (path, split)):
                yield *before, found
                found = []
            before = path, split
            box = None if left is None else Box(left, top, width, height, (wide, high) if wide else None)
            found.append(Region(label, box))
        if before is not None:
            yield *before, found
        self._base.close()
