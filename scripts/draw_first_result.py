"""Draws the README's picture: what a service answers that was taught two labels with one picture each.

    vision demo demo && python -m scripts.draw_first_result demo docs/pictures/first-result.png

The service is found as the client finds it (VISION_SERVER); it learns the labels in a collection that is removed again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from PIL import Image

from llamafarm_vision import Vision

COLLECTION = "first-result"
TAUGHT = {"mug": "mug.jpg", "cactus": "cactus.jpg"}
ASKED = ("inbox/mug-2.jpg", "inbox/cactus-1.jpg", "inbox/boat-1.jpg")
INK, FAINT, SURE, UNSURE = "#1f2933", "#d3dae1", "#2f7d4f", "#b7791f"
COLOURS = 160
"""Of the file's palette: drawings and text need few, and the file is a third of the size."""


def ask(demo: Path) -> list[Any]:
    """The service's answer to each picture of ASKED."""
    with Vision() as vision:
        vision.collections.create(COLLECTION)
        try:
            for label, file in TAUGHT.items():
                vision.learn(demo / file, label, collection=COLLECTION)
            return [vision.classify(demo / file, collection=COLLECTION) for file in ASKED]
        finally:
            vision.collections.delete(COLLECTION)


def draw_image(figure: Any, place: tuple[float, float, float, float], file: Path, title: str) -> None:
    """A picture with a line above it."""
    axes = figure.add_axes(place)
    axes.imshow(Image.open(file))
    axes.set_title(title, fontsize=9, color=INK, pad=4)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def draw_scores(figure: Any, place: tuple[float, float, float, float], found: Any) -> None:
    """A bar a label, and one for none of these."""
    rows = [(label, next(score.score for score in found.scores if score.label == label)) for label in TAUGHT]
    rows.append(("none of these", found.none))
    axes = figure.add_axes(place)
    for row, (label, share) in enumerate(reversed(rows)):
        wins = label == found.label
        axes.barh(row, 1, height=0.55, color="#eef1f4")
        axes.barh(row, share, height=0.55, color=SURE if wins else UNSURE if found.rejected else "#9aa5b1")
        axes.text(-0.04, row, label, ha="right", va="center", fontsize=8, color=INK)
        axes.text(1.04, row, f"{share:.1%}", ha="left", va="center", fontsize=8, color=INK)
    axes.set_xlim(0, 1)
    axes.axis("off")


def draw(demo: Path, file: Path) -> None:
    """Ask the service and write the picture."""
    figure = plt.figure(figsize=(8, 2.75), dpi=180, facecolor="white")
    figure.text(0.09, 0.93, "you teach", ha="center", fontsize=10, color=INK, weight="bold")
    for row, (label, taught) in enumerate(TAUGHT.items()):
        draw_image(figure, (0.03, 0.49 - 0.42 * row, 0.12, 0.32), demo / taught, f'"{label}"')
    figure.text(0.6, 0.93, "it answers", ha="center", fontsize=10, color=INK, weight="bold")
    for column, (asked, found) in enumerate(zip(ASKED, ask(demo), strict=True)):
        left = 0.26 + 0.25 * column
        verdict = "none of these" if found.rejected else f'"{found.label}"'
        draw_image(figure, (left, 0.37, 0.2, 0.44), demo / asked, verdict)
        draw_scores(figure, (left + 0.065, 0.06, 0.1, 0.25), found)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    Image.open(file).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
