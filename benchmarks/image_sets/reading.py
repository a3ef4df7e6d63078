"""Image files of other projects as RGB: drawings rendered, transparency laid on a ground, strange files left out."""

from __future__ import annotations

import importlib
import io
import re
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from benchmarks.image_sets.packages import Package

RENDERER = Package("pypi", "resvg-py", "0.5.0", "MPL-2.0 OR Apache-2.0 OR MIT")
GROUNDS = ((255, 255, 255), (244, 241, 232), (214, 224, 236), (200, 200, 200))
"""What transparent pictures are laid on: paper, cream, pale blue, grey."""
MAX_SIDE = 2000
PIXELS = {"pt": 1.25, "mm": 3.5433, "cm": 35.433, "in": 90.0}
"""Pixels of a unit at 90 to the inch, which drawings without a `viewBox` were made for."""


def seed_of(*parts: object) -> int:
    """The same number for the same words in every process, unlike `hash`."""
    return zlib.crc32("/".join(map(str, parts)).encode())


def cut_empty(image: Image.Image) -> Image.Image:
    """RGBA without the transparent margin, since drawings often lie in a corner of a page."""
    wide = image.convert("RGBA")
    return wide.crop(wide.getchannel("A").getbbox())


def flatten(image: Image.Image, ground: tuple[int, int, int]) -> Image.Image:
    """RGB, with what is transparent showing the ground."""
    wide = image.convert("RGBA")
    below = Image.new("RGBA", wide.size, (*ground, 255))
    return Image.alpha_composite(below, wide).convert("RGB")


def pad_image(image: Image.Image, ground: tuple[int, int, int], margin: float = 0.08) -> Image.Image:
    """The picture in the middle of a square of the ground, with a margin, since the encoder crops the middle."""
    side = round(max(image.size) * (1 + 2 * margin))
    square = Image.new("RGB", (side, side), ground)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def read(path: Path, side: int = 192) -> Image.Image | None:
    """An image file on a ground of its own choice, the longer side at most `side`, on a square; None if unreadable.

    The ground is drawn by the path's last two parts, so that it tells nothing of the label.
    """
    ground = GROUNDS[seed_of(*path.parts[-2:]) % len(GROUNDS)]
    try:
        image = render(path, 2 * side) if path.suffix == ".svg" else Image.open(path)
        if image is None or max(image.size) > MAX_SIDE or min(image.size) < 8:
            return None
        flat = flatten(cut_empty(image), ground)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    flat.thumbnail((side, side))
    if min(flat.size) < 8 or np.asarray(flat).std(axis=(0, 1)).max() < 2:
        return None
    if max(flat.size) < side // 2:
        grown = side // (2 * max(flat.size)) + 1
        flat = flat.resize((flat.width * grown, flat.height * grown), Image.Resampling.BICUBIC)
    return pad_image(flat, ground)


def render(path: Path, side: int) -> Image.Image | None:
    """An SVG drawing, `side` pixels wide; None where the renderer refuses it or would go on for long."""
    text = path.read_text("utf-8", "replace")
    if len(text) > 1_500_000 or "<svg" not in text:
        return None
    # Drawings may name pictures of other hosts or files; the renderer must not look for them.
    text = re.sub(r'xlink:href="(?!#|data:)[^"]*"', 'xlink:href=""', text)
    root = re.search(r"<svg[^>]*>", text)
    if root is not None:
        text = text.replace(root.group(), plain_root(root.group()), 1)
    try:
        data = _renderer().svg_to_bytes(svg_string=text, width=side)
    except Exception:  # the renderer's own classes differ between its versions
        return None
    return Image.open(io.BytesIO(bytes(data)))


def plain_root(tag: str) -> str:
    """The root's tag with its size in pixels (the renderer takes no other unit) and a namespace (old ones lack it)."""

    def pixels(found: re.Match[str]) -> str:
        return f'{found[1]}="{float(found[2]) * PIXELS[found[3]]:.2f}"'

    tag = re.sub(r'\b(width|height)="([\d.]+)(pt|mm|cm|in)"', pixels, tag)
    return tag if 'xmlns="' in tag else tag.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)


def _renderer() -> Any:
    folder = str(RENDERER.fetch())
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("resvg_py")
