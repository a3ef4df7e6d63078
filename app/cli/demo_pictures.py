"""The pictures that `vision demo` writes: things on a coloured ground and plain shapes, each drawn anew from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable

from PIL import Image, ImageDraw

_SIDE = 256
_FINE = 2
"""Drawn so many times larger, then scaled down: edges are smooth."""
_SHAPE_SIDE = 64
_SHAPE_COLOURS = {"red": "red", "blue": "blue", "green": "lime", "yellow": "yellow", "black": "black"}
Point = tuple[float, float]


class _Canvas:
    """A square from (0, 0) to (1, 1), on which a thing is drawn about its middle, shifted and scaled."""

    def __init__(self, rng: random.Random, ground: str, floor: str) -> None:
        size = _SIDE * _FINE
        self.image = Image.new("RGB", (size, size), ground)
        self._draw = ImageDraw.Draw(self.image)
        self._draw.rectangle((0, size * rng.uniform(0.72, 0.8), size, size), floor)
        self._scale = size * rng.uniform(0.8, 1.0)
        self._left = (size - self._scale) / 2 + size * rng.uniform(-0.06, 0.06)
        self._top = (size - self._scale) / 2 + size * rng.uniform(-0.03, 0.03)

    def _at(self, points: tuple[Point, ...]) -> list[Point]:
        return [(self._left + x * self._scale, self._top + y * self._scale) for x, y in points]

    def box(
        self, fill: str, left: float, top: float, right: float, bottom: float, radius: float = 0.0
    ) -> None:
        """A rectangle with round corners."""
        place = self._at(((left, top), (right, bottom)))
        self._draw.rounded_rectangle((*place[0], *place[1]), radius * self._scale, fill)

    def oval(self, fill: str, left: float, top: float, right: float, bottom: float) -> None:
        """Draw a filled ellipse."""
        place = self._at(((left, top), (right, bottom)))
        self._draw.ellipse((*place[0], *place[1]), fill)

    def ring(self, colour: str, left: float, top: float, right: float, bottom: float, width: float) -> None:
        """The edge of an ellipse."""
        place = self._at(((left, top), (right, bottom)))
        self._draw.ellipse((*place[0], *place[1]), None, colour, round(width * self._scale))

    def area(self, fill: str, *points: Point) -> None:
        """Draw a filled polygon."""
        self._draw.polygon(self._at(points), fill)

    def line(self, colour: str, width: float, *points: Point) -> None:
        """A line with round joints."""
        self._draw.line(self._at(points), colour, round(width * self._scale), joint="curve")


def _draw_mug(rng: random.Random) -> Image.Image:
    canvas = _Canvas(
        rng, rng.choice(["#e9dcc3", "#d9d4cf", "#efe6da"]), rng.choice(["#8a5a36", "#75492b", "#9b6b43"])
    )
    colour = rng.choice(["#c8362f", "#b53a4a", "#d0543a"])
    canvas.ring(colour, 0.6, 0.36, 0.9, 0.68, 0.06)
    canvas.box(colour, 0.22, 0.28, 0.7, 0.78, 0.05)
    canvas.oval("#f4eee6", 0.22, 0.21, 0.7, 0.35)
    canvas.oval("#4a2b17", 0.26, 0.235, 0.66, 0.335)
    for x in (0.36, 0.46, 0.56):
        canvas.line("#ffffff", 0.015, (x, 0.18), (x + 0.03, 0.12), (x - 0.02, 0.06), (x + 0.02, 0.0))
    return canvas.image


def _draw_cactus(rng: random.Random) -> Image.Image:
    canvas = _Canvas(
        rng, rng.choice(["#9fd0ee", "#b4dcf2", "#8ec3e6"]), rng.choice(["#e2c48b", "#d8b677", "#ecd3a0"])
    )
    green, dark = rng.choice([("#2f8a3c", "#1f6a2b"), ("#3a9a4a", "#26753a"), ("#287a45", "#195a31")])
    canvas.oval("#ffd94a", 0.78, 0.02, 0.96, 0.2)
    canvas.box(green, 0.42, 0.12, 0.58, 0.86, 0.08)
    left, right = rng.uniform(0.42, 0.52), rng.uniform(0.36, 0.48)
    canvas.box(green, 0.22, left, 0.5, left + 0.1, 0.05)
    canvas.box(green, 0.22, left - 0.2, 0.32, left + 0.1, 0.05)
    canvas.box(green, 0.5, right, 0.8, right + 0.1, 0.05)
    canvas.box(green, 0.7, right - 0.22, 0.8, right + 0.1, 0.05)
    for x in (0.46, 0.5, 0.54):
        canvas.line(dark, 0.008, (x, 0.17), (x, 0.84))
    return canvas.image


def _draw_boat(rng: random.Random) -> Image.Image:
    canvas = _Canvas(
        rng, rng.choice(["#cfe3f2", "#f3d9c0", "#dbe8ee"]), rng.choice(["#1f5f9c", "#2a6fb0", "#174f86"])
    )
    canvas.line("#5b3a1e", 0.02, (0.5, 0.1), (0.5, 0.72))
    canvas.area(rng.choice(["#ffffff", "#fff3d6", "#f7f7ff"]), (0.53, 0.12), (0.53, 0.64), (0.86, 0.64))
    canvas.area("#e8e8ee", (0.47, 0.18), (0.47, 0.64), (0.2, 0.64))
    hull = rng.choice(["#8c2f1b", "#5a2d1a", "#222a44"])
    canvas.area(hull, (0.1, 0.7), (0.92, 0.7), (0.78, 0.86), (0.24, 0.86))
    return canvas.image


def _draw_house(rng: random.Random) -> Image.Image:
    canvas = _Canvas(
        rng, rng.choice(["#a9c7e8", "#c2d6ee", "#dfe7ef"]), rng.choice(["#6aa84f", "#7fb560", "#5b9644"])
    )
    canvas.box(rng.choice(["#f1e4c6", "#e6d2b0", "#f5efe3"]), 0.2, 0.42, 0.8, 0.82)
    canvas.area(rng.choice(["#9c3d2e", "#7c2f24", "#5d4038"]), (0.12, 0.44), (0.88, 0.44), (0.5, 0.1))
    canvas.box("#6b4226", 0.44, 0.58, 0.57, 0.82)
    for x in (0.26, 0.64):
        canvas.box("#8fc7e8", x, 0.5, x + 0.12, 0.62)
        canvas.line("#ffffff", 0.01, (x + 0.06, 0.5), (x + 0.06, 0.62))
    return canvas.image


THINGS: dict[str, Callable[[random.Random], Image.Image]] = {
    "mug": _draw_mug,
    "cactus": _draw_cactus,
    "boat": _draw_boat,
    "house": _draw_house,
}
"""What a picture can show."""
SHAPES = {"circle": "none", "triangle": "three", "rectangle": "four"}
"""Shapes, and how many corners each has."""


def draw_thing(name: str, seed: int) -> Image.Image:
    """One of `THINGS`, 256 x 256 pixels, RGB; another seed gives another picture of it."""
    rng = random.Random(f"{name} {seed}")  # noqa: S311 - pictures, not secrets
    return THINGS[name](rng).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


def draw_shape(name: str, seed: int, colour: str | None = None) -> Image.Image:
    """One of `SHAPES` on a light ground, 64 x 64 pixels, RGB: what the models that ship were made for."""
    rng = random.Random(f"{name} {seed}")  # noqa: S311 - pictures, not secrets
    image = Image.new("RGB", (_SHAPE_SIDE, _SHAPE_SIDE), tuple(rng.randint(228, 252) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    width, height = rng.randint(18, 30), rng.randint(18, 30)
    left, top = rng.randint(2, _SHAPE_SIDE - width - 2), rng.randint(2, _SHAPE_SIDE - height - 2)
    fill = _SHAPE_COLOURS[colour or rng.choice(list(_SHAPE_COLOURS))]
    if name == "circle":
        draw.ellipse((left, top, left + width, top + width), fill)
    elif name == "rectangle":
        draw.rectangle((left, top, left + width, top + height), fill)
    else:
        draw.polygon([(left, top + width), (left + width, top + width), (left + width / 2, top)], fill)
    return image
