"""Drawings of one plain shape as a person makes them: any size, any of easy-VQA's colours, crisp or smooth edges.

Knows pixels only; easy-VQA's own images are all 64 x 64.
"""

from __future__ import annotations

import io
import random

from PIL import Image, ImageDraw

PAINTS = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (139, 69, 19),
    "gray": (128, 128, 128),
    "green": (0, 128, 0),
    "red": (255, 0, 0),
    "teal": (0, 128, 128),
    "yellow": (255, 255, 0),
}
KINDS = ("circle", "rectangle", "triangle")
SIDES = (64, 96, 128, 200, 256, 400, 640)
SMOOTH = 4


def drawing(rng: random.Random) -> Image.Image:
    """One shape on a white or pale ground; a third come from a JPEG."""
    width = rng.choice(SIDES)
    height = width if rng.random() < 0.6 else int(width * rng.uniform(0.7, 1.4))
    pale = (rng.randint(225, 255), rng.randint(225, 255), rng.randint(225, 255))
    ground = (255, 255, 255) if rng.random() < 0.5 else pale
    red, green, blue = (
        min(max(value + rng.randint(-25, 25), 0), 255) for value in rng.choice(list(PAINTS.values()))
    )
    zoom = SMOOTH if rng.random() < 0.4 else 1
    image = Image.new("RGB", (width * zoom, height * zoom), ground)
    _draw(ImageDraw.Draw(image), rng, image.size, (red, green, blue))
    image = image.resize((width, height), Image.Resampling.BOX)
    if rng.random() < 1 / 3:
        sink = io.BytesIO()
        image.save(sink, "JPEG", quality=rng.choice((60, 80, 92)))
        image = Image.open(sink).convert("RGB")
    return image


def _draw(
    draw: ImageDraw.ImageDraw, rng: random.Random, frame: tuple[int, int], paint: tuple[int, int, int]
) -> None:
    kind = rng.choice(KINDS)
    across = down = rng.uniform(0.2, 0.8) * min(frame)
    if kind != "circle":
        across, down = across * rng.uniform(0.5, 1), down * rng.uniform(0.5, 1)
    left, top = rng.uniform(0, frame[0] - across), rng.uniform(0, frame[1] - down)
    if kind == "circle":
        draw.ellipse((left, top, left + across, top + down), fill=paint)
    elif kind == "rectangle":
        draw.rectangle((left, top, left + across, top + down), fill=paint)
    else:
        tip = left + across * rng.random()
        draw.polygon([(left, top + down), (left + across, top + down), (tip, top)], fill=paint)
