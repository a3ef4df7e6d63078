"""Patches of textures: which surface a patch was cut from is the label, place, light and scale vary."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.image_sets import damage
from benchmarks.image_sets.definitions import Definition, Labelled, Side
from benchmarks.image_sets.packages import Package
from benchmarks.image_sets.reading import flatten, seed_of

PATTERNS = (
    Package("debian", "gimp-data", "2.10.34-1+deb12u10", "GPL-3.0+"),
    Package("debian", "krita-data", "1:5.1.5+dfsg-2+deb12u1", "GPL-2.0+"),
)
WALLS = Package("debian", "openarena-081-textures", "0.8.5split-14", "GPL-2.0+")
KINDS = (
    "base_wall",
    "base_floor",
    "gothic_block",
    "gothic_floor",
    "gothic_wall",
    "gothic_trim",
    "oquartz",
    "proto2",
)
"""Folders of the textures that the judging sets take, of walls and floors rather than skies and signs."""
PATCH = 112


def gimp_pattern(data: bytes) -> Image.Image | None:
    """A `.pat` file (big-endian header of six words, then a name, then pixels) as RGB."""
    size, _, width, height, depth = struct.unpack(">5I", data[:20])
    modes = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
    if data[20:24] != b"GPAT" or depth not in modes or len(data) < size + width * height * depth:
        return None
    return Image.frombytes(modes[depth], (width, height), data[size:]).convert("RGB")


def patterns() -> dict[str, Image.Image]:
    """The tuning set's textures by name: what GIMP and Krita fill areas with."""
    found: dict[str, Image.Image] = {}
    for package in PATTERNS:
        for path in sorted(package.fetch().rglob("*")):
            image = None
            if path.suffix == ".pat":
                image = gimp_pattern(path.read_bytes())
            elif path.suffix == ".png" and "patterns" in path.parts:
                image = flatten(Image.open(path), (255, 255, 255))
            if image is not None and min(image.size) >= 64 and _varies(image):
                found.setdefault(path.stem.lower().replace("_", " "), image)
    return found


def walls() -> dict[str, Image.Image]:
    """The judging sets' textures by name: walls and floors of a game."""
    found: dict[str, Image.Image] = {}
    [archive] = WALLS.fetch().rglob("*.pk3")
    with zipfile.ZipFile(archive) as packed:
        for name in sorted(packed.namelist()):
            path = Path(name)
            if path.parent.name in KINDS and path.suffix in (".jpg", ".tga"):
                image = Image.open(io.BytesIO(packed.read(name))).convert("RGB")
                if min(image.size) >= 128 and _varies(image):
                    found[f"{path.parent.name} {path.stem}".replace("_", " ")] = image
    return found


def _varies(image: Image.Image) -> bool:
    return float(np.asarray(image.convert("L")).std()) > 8


def _is_plain(image: Image.Image) -> bool:
    grey = np.asarray(image.convert("L"))
    return float(grey.mean()) > 75 and float(grey.std()) < 40


def patch(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """RGB of 112 x 112 from anywhere in the texture, repeated beyond its edge, turned, scaled, relit, with noise."""
    scale = rng.uniform(0.7, 1.5) * max(1.0, 128 / min(image.size))
    need = round(PATCH * 1.5)
    big = image.resize(
        [max(16, min(1024, round(side * scale))) for side in image.size], Image.Resampling.BILINEAR
    )
    pixels = np.asarray(big)
    rows = (rng.integers(big.height) + np.arange(need)) % big.height
    columns = (rng.integers(big.width) + np.arange(need)) % big.width
    piece = Image.fromarray(np.ascontiguousarray(pixels[rows][:, columns]))
    turned = piece.rotate(rng.choice((0, 90, 180, 270)) + rng.uniform(-15, 15), Image.Resampling.BILINEAR)
    left = (need - PATCH) // 2
    cut = np.asarray(turned.crop((left, left, left + PATCH, left + PATCH)), np.float32)
    light = rng.uniform(0.65, 1.25) * (1 + rng.normal(0, 0.05, 3))
    noisy = cut * light.astype(np.float32) + rng.normal(0, rng.uniform(0, 8), cut.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def patches(
    name: str,
    side: Side,
    sources: tuple[Package, ...],
    textures: Callable[[], dict[str, Image.Image]],
    labels: int,
    each: int,
) -> Definition:
    """`each` patches of so many textures, chosen by their names' checksum."""

    def images() -> Labelled:
        found = textures()
        chosen = sorted(found, key=seed_of)[:labels]
        for view in range(each):
            for label, texture in enumerate(chosen):
                yield patch(found[texture], np.random.default_rng(seed_of(texture, view))), label

    return Definition(
        name, "patches of textures", side, tuple(f"texture {i}" for i in range(labels)), images, sources
    )


def define_damaged_walls(
    name: str, surfaces: int, states: dict[str, damage.Paint], each: int, skip: int = 0
) -> Definition:
    """Real textures, each sound and with some damage painted on; the label is the surface and its state."""

    def images() -> Labelled:
        # On a dark or a busy wall nobody would see a crack.
        found = {name: image for name, image in walls().items() if _is_plain(image)}
        chosen = sorted(found, key=seed_of)[skip : skip + surfaces]
        for view in range(each):
            for place, texture in enumerate(chosen):
                for state, paint in enumerate(states.values()):
                    rng = np.random.default_rng(seed_of(texture, view, state))
                    image = found[texture]
                    big = image.resize((320, 320), Image.Resampling.BILINEAR)
                    left, top = rng.integers(0, 320 - damage.SIDE, 2).tolist()
                    sheet = np.asarray(
                        big.crop((left, top, left + damage.SIDE, top + damage.SIDE)), np.float32
                    )
                    yield damage.photograph(paint(sheet, rng), rng), place * len(states) + state

    names = [
        f"{state} wall {place}" if surfaces > 1 else f"{state} wall"
        for place in range(surfaces)
        for state in states
    ]
    return Definition(name, "textures, damaged or not", "judge", tuple(names), images, (WALLS,))


STATES: dict[str, damage.Paint] = {
    "undamaged": damage.sound,
    "cracked": damage.crack,
    "perforated": damage.hole,
    "rust-spotted": damage.rust,
}
TUNING = patches("textures-tune", "tune", PATTERNS, patterns, 40, 24)
JUDGING = (
    patches("textures-judge", "judge", (WALLS,), walls, 40, 62),
    define_damaged_walls("damage-judge", 5, STATES, 40, 0),
    define_damaged_walls("crack-judge", 1, {"undamaged": damage.sound, "cracked": damage.crack}, 70, 5),
)
CURVES = (
    patches("textures-many", "judge", (WALLS,), walls, 100, 205),
    define_damaged_walls("damage-many", 10, STATES, 512),
)
