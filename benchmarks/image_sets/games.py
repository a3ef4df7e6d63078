"""Figures of games: chess pieces of many sets, and creatures seen from all sides."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFont

from benchmarks.image_sets.definitions import Definition, Labelled
from benchmarks.image_sets.glyphs import draw
from benchmarks.image_sets.packages import Package
from benchmarks.image_sets.reading import GROUNDS, flatten, pad_image, read, seed_of

CHESS = Package("debian", "pychess", "1.0.3-1", "GPL-3.0+")
PIECES = {"king": "kl", "queen": "qw", "rook": "rt", "bishop": "bv", "knight": "nm", "pawn": "po"}
"""Piece -> its two characters, white and black, in typefaces for chess diagrams; the first also begins file names."""
OTHER_GAMES = ("makruk", "sittuyin")
"""Chess of Thailand and Myanmar, whose pieces look otherwise."""
DOOM = Package("debian", "freedoom", "0.12.1-2", "BSD-3-Clause")
MAX_VIEWS = 62
FEWEST_VIEWS = 30


def chess() -> Labelled:
    """Pieces of both colours by all sets, each twice: on some board's colour, turned or mirrored."""
    root = CHESS.fetch() / "usr" / "share" / "pychess" / "pieces"
    for label, (piece, characters) in enumerate(PIECES.items()):
        for path in sorted(root.glob(f"*/?{characters[0]}.svg")):
            image = read(path, 128)
            if image is not None and path.parent.name not in OTHER_GAMES:
                rng = np.random.default_rng(seed_of(piece, *path.parts[-2:]))
                yield image, label
                yield (
                    image.rotate(
                        rng.uniform(-10, 10), Image.Resampling.BICUBIC, fillcolor=image.getpixel((0, 0))
                    ),
                    label,
                )
        for path in sorted((root / "ttf").glob("*.ttf")):
            face = ImageFont.truetype(str(path), 64)
            for character in characters:
                yield draw(face, character, np.random.default_rng(seed_of(path.name, character))), label


def lumps(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of everything in a WAD archive, in its order."""
    _, count, start = struct.unpack("<4sii", data[:12])
    for entry in struct.iter_unpack("<ii8s", data[start : start + 16 * count]):
        offset, size, name = entry
        yield name.rstrip(b"\0").decode("ascii", "replace"), data[offset : offset + size]


def picture(data: bytes, palette: np.ndarray) -> Image.Image:
    """A column-wise picture of a WAD archive as RGBA: transparent where no run of pixels covers it."""
    width, height = struct.unpack("<HH", data[:4])
    pixels = np.zeros((height, width, 4), np.uint8)
    for column, offset in enumerate(struct.unpack(f"<{width}I", data[8 : 8 + 4 * width])):
        top = -1
        while data[offset] != 255:
            # Tall pictures give the distance from the run before.
            top = data[offset] if data[offset] > top else top + data[offset]
            run = data[offset + 1]
            ends = min(height, top + run)
            shown = np.frombuffer(data[offset + 3 : offset + 3 + run], np.uint8)[: max(0, ends - top)]
            pixels[top:ends, column, :3] = palette[shown]
            pixels[top:ends, column, 3] = 255
            offset += run + 4
    return Image.fromarray(pixels)


def creatures() -> dict[str, list[Image.Image]]:
    """Creature's four letters -> its pictures, from all sides and in all poses."""
    found: dict[str, list[Image.Image]] = {}
    path = DOOM.fetch() / "usr" / "share" / "games" / "doom" / "freedoom2.wad"
    palette = np.zeros((256, 3), np.uint8)
    inside = False
    for name, content in lumps(path.read_bytes()):
        if name == "PLAYPAL":
            palette = np.frombuffer(content[:768], np.uint8).reshape(256, 3)
        elif name in ("S_START", "S_END"):
            inside = name == "S_START"
        elif inside and len(content) > 8:
            found.setdefault(name[:4], []).append(picture(content, palette))
    return {name: pictures for name, pictures in sorted(found.items()) if len(pictures) >= FEWEST_VIEWS}


def sprites() -> Labelled:
    for label, (name, pictures) in enumerate(creatures().items()):
        rng = np.random.default_rng(seed_of(name))
        for place in rng.permutation(len(pictures))[:MAX_VIEWS]:
            ground = GROUNDS[rng.integers(len(GROUNDS))]
            shown = pad_image(flatten(pictures[place], ground), ground)
            yield shown.resize((144, 144), Image.Resampling.BICUBIC), label


CREATURES = (
    "minor boss", "horned boss", "spider robot", "machine gunner", "robot with rockets", "fat worm", "floating head",
    "pain flyer", "player", "crouched player", "zombie soldier", "fleshy beast", "skeleton", "burning skull",
    "brain spider", "shotgun man", "soldier in uniform", "serpentipede", "summoner",
)  # fmt: skip
JUDGING = (
    Definition(
        "chess-judge",
        "chess pieces of many sets",
        "judge",
        tuple(f"chess {name}" for name in PIECES),
        chess,
        (CHESS,),
    ),
    Definition("sprites-judge", "creatures of a game from all sides", "judge", CREATURES, sprites, (DOOM,)),
)
