"""Surfaces with and without damage: what an inspection sees, drawn, or painted onto other projects' textures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.image_sets.definitions import Definition, Labelled
from benchmarks.image_sets.reading import seed_of

SIDE = 160
EACH = 60
Sheet = NDArray[np.float32]
"""float32[160, 160, 3], 0 to 255."""
Paint = Callable[[Sheet, np.random.Generator], Sheet]
"""A surface with something added; the mark's place, size and strength are drawn."""


def clouds(rng: np.random.Generator, cells: int, side: int = SIDE) -> NDArray[np.float32]:
    """float32[side, side] of mean 0 and deviation 1: soft blotches, about so many a side."""
    coarse = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
    fine = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    return (fine - fine.mean()) / (fine.std() + 1e-6)


def add_colour(grey: NDArray[np.float32], color: tuple[int, int, int]) -> Sheet:
    return np.array(color, np.float32) + grey[..., None]


def tiles(rng: np.random.Generator) -> Sheet:
    """Glazed tiles with joints; the camera is never in quite the same place."""
    size, joint = int(rng.integers(36, 60)), int(rng.integers(2, 5))
    sheet = add_colour(4 * clouds(rng, 12) + 2 * rng.normal(size=(SIDE, SIDE)), (196, 205, 210))
    for axis in (0, 1):
        lines = (np.arange(SIDE) + rng.integers(size)) % size < joint
        sheet[lines if axis == 0 else (slice(None), lines)] = (132, 128, 120)
    return sheet


def board(rng: np.random.Generator) -> Sheet:
    """A planed board: grain along x that wavers."""
    y = np.arange(SIDE)[:, None] + 6 * clouds(rng, 4)
    grain = 12 * np.sin(y / rng.uniform(2.5, 5.0) + 2 * clouds(rng, 3)) + 8 * clouds(rng, 5)
    return add_colour(grain + 3 * rng.normal(size=(SIDE, SIDE)), (172, 126, 78))


def cloth(rng: np.random.Generator) -> Sheet:
    """A woven cloth, in one of some colours."""
    pitch = rng.uniform(1.6, 2.6)
    x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    weave = 14 * (
        np.sin(x / pitch * 2) * (np.sin(y / pitch) > 0) + np.sin(y / pitch * 2) * (np.sin(x / pitch) > 0)
    )
    color = ((70, 90, 140), (150, 60, 60), (90, 110, 80), (180, 170, 150))[rng.integers(4)]
    return add_colour(
        (weave + 5 * clouds(rng, 6) + 4 * rng.normal(size=(SIDE, SIDE))).astype(np.float32), color
    )


def metal(rng: np.random.Generator) -> Sheet:
    """Brushed sheet metal under an uneven light."""
    brushed = np.repeat(rng.normal(size=(SIDE, 1)), SIDE, axis=1) * 6 + 4 * clouds(rng, 40)
    light = 26 * clouds(rng, 2)
    return add_colour((brushed + light).astype(np.float32), (150, 154, 160))


def concrete(rng: np.random.Generator) -> Sheet:
    """Rough cast concrete with pores."""
    grey = 8 * clouds(rng, 4) + 7 * clouds(rng, 20) + 7 * rng.normal(size=(SIDE, SIDE))
    sheet = add_colour(grey.astype(np.float32), (150, 147, 140))
    for _ in range(int(rng.integers(3, 12))):
        x, y = rng.integers(0, SIDE - 3, 2)
        sheet[y : y + 2, x : x + 2] -= 50
    return sheet


def _stroke(
    rng: np.random.Generator, steps: int, waver: float, width: float, fork: float = 0.0
) -> Image.Image:
    """L mask of a walk that begins anywhere and wavers, with branches by chance."""
    mask = Image.new("L", (SIDE, SIDE), 0)
    pen = ImageDraw.Draw(mask)
    walks = [(rng.uniform(0.2, 0.8, 2) * SIDE, rng.uniform(0, 2 * np.pi), steps)]
    while walks:
        place, angle, left = walks.pop()
        while left > 0:
            ahead = place + 5 * np.array([np.cos(angle), np.sin(angle)])
            pen.line(
                [tuple(place), tuple(ahead)], fill=255, width=max(1, round(width * rng.uniform(0.6, 1.3)))
            )
            place, angle, left = ahead, angle + rng.normal(0, waver), left - 1
            if rng.random() < fork:
                walks.append((place, angle + rng.choice((-1, 1)) * rng.uniform(0.4, 1.0), left // 2))
    return mask


def _lay(sheet: Sheet, mask: Image.Image, color: tuple[float, float, float], strength: float) -> Sheet:
    share = strength * np.asarray(mask, np.float32)[..., None] / 255
    return sheet * (1 - share) + share * np.array(color, np.float32)


def crack(sheet: Sheet, rng: np.random.Generator) -> Sheet:
    mask = _stroke(rng, int(rng.integers(8, 22)), 0.5, rng.uniform(1, 2.4), 0.08)
    return _lay(sheet, mask, (35, 30, 28), rng.uniform(0.55, 0.95))


def scratch(sheet: Sheet, rng: np.random.Generator) -> Sheet:
    mask = _stroke(rng, int(rng.integers(8, 20)), 0.03, rng.uniform(1, 2.0))
    return _lay(sheet, mask, (235, 235, 232), rng.uniform(0.5, 0.9))


def _blot(rng: np.random.Generator, low: float, high: float, ragged: float) -> Image.Image:
    """L mask of a blotch with a ragged edge, its radius between two shares of the side."""
    x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    middle = rng.uniform(0.25, 0.75, 2) * SIDE
    radius = rng.uniform(low, high) * SIDE * (1 + ragged * clouds(rng, 7))
    inside = np.hypot((x - middle[0]) * rng.uniform(0.7, 1.3), y - middle[1]) < radius
    return Image.fromarray((255 * inside).astype(np.uint8))


def stain(sheet: Sheet, rng: np.random.Generator) -> Sheet:
    mask = _blot(rng, 0.08, 0.2, 0.3).filter(ImageFilter.GaussianBlur(rng.uniform(2, 5)))
    return _lay(
        sheet, mask, ((80, 60, 30), (50, 55, 70), (110, 40, 30))[rng.integers(3)], rng.uniform(0.3, 0.6)
    )


def hole(sheet: Sheet, rng: np.random.Generator) -> Sheet:
    mask = _blot(rng, 0.03, 0.09, 0.25)
    rim = mask.filter(ImageFilter.MaxFilter(5))
    return _lay(_lay(sheet, rim, (225, 220, 210), 0.5), mask, (22, 20, 20), 0.95)


def dent(sheet: Sheet, rng: np.random.Generator) -> Sheet:
    """A hollow: one flank catches the light, the other lies in shade."""
    mask = _blot(rng, 0.06, 0.14, 0.1).filter(ImageFilter.GaussianBlur(6))
    height = np.asarray(mask, np.float32)
    slope = np.gradient(height)[0] + np.gradient(height)[1]
    return sheet + rng.uniform(2.5, 5) * slope[..., None]


def rust(sheet: Sheet, rng: np.random.Generator) -> Sheet:
    for _ in range(int(rng.integers(2, 7))):
        mask = _blot(rng, 0.02, 0.07, 0.5).filter(ImageFilter.GaussianBlur(1.2))
        sheet = _lay(sheet, mask, (120 + rng.integers(40), 62, 28), rng.uniform(0.4, 0.8))
    return sheet


def sound(sheet: Sheet, rng: np.random.Generator) -> Sheet:
    """No damage."""
    return sheet


def photograph(sheet: Sheet, rng: np.random.Generator) -> Image.Image:
    """RGB as a camera gives it: relit, turned a little, somewhat out of focus, noisy."""
    light = 1 + 0.12 * rng.normal() + 0.08 * clouds(rng, 2)[..., None]
    pixels = np.clip(sheet * light + rng.normal(0, rng.uniform(1, 5), sheet.shape), 0, 255)
    image = Image.fromarray(pixels.astype(np.uint8))
    image = image.rotate(rng.uniform(-6, 6), Image.Resampling.BICUBIC).crop((10, 10, SIDE - 10, SIDE - 10))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.1)))


def define_tuning_set(
    name: str, kind: str, surfaces: dict[str, tuple[Callable[[np.random.Generator], Sheet], Paint]]
) -> Definition:
    """A tuning set: class -> how its surface is made and what is done to it."""

    def images() -> Labelled:
        for label, (surface, paint) in enumerate(surfaces.values()):
            rng = np.random.default_rng(seed_of(name, label))
            for _ in range(EACH):
                yield photograph(paint(surface(rng), rng), rng), label

    return Definition(name, kind, "tune", tuple(surfaces), images, ())


TUNING = (
    define_tuning_set(
        "tiles-tune",
        "drawn surfaces, damaged or not",
        {"sound tiles": (tiles, sound), "cracked tiles": (tiles, crack)},
    ),
    define_tuning_set(
        "metal-tune",
        "drawn surfaces, damaged or not",
        {
            "sheet metal without damage": (metal, sound),
            "scratched sheet metal": (metal, scratch),
            "dented sheet metal": (metal, dent),
            "rusty sheet metal": (metal, rust),
        },
    ),
    define_tuning_set(
        "cloth-tune",
        "drawn surfaces, damaged or not",
        {
            "cloth without fault": (cloth, sound),
            "stained cloth": (cloth, stain),
            "cloth with a hole": (cloth, hole),
        },
    ),
    define_tuning_set(
        "board-tune",
        "drawn surfaces, damaged or not",
        {"sound board": (board, sound), "cracked board": (board, crack)},
    ),
    define_tuning_set(
        "surfaces-tune",
        "drawn surfaces, damaged or not",
        {
            f"{word} {what}": (surface, paint)
            for what, surface in (("concrete", concrete), ("board", board), ("tiles", tiles))
            for word, paint in (("sound", sound), ("scratched", scratch), ("stained", stain), ("holed", hole))
        },
    ),
)
