"""Drawings of everyday things: one-colour pictograms by several makers (npm) and clip art by many people (Debian)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from benchmarks.image_sets.definitions import Definition, Labelled, of_files
from benchmarks.image_sets.packages import Package

PICTOGRAMS = (
    Package("npm", "@mdi/svg", "7.4.47", "Apache-2.0"),
    Package("npm", "bootstrap-icons", "1.13.2", "MIT"),
    Package("npm", "@phosphor-icons/core", "2.1.1", "MIT"),
    Package("npm", "ionicons", "8.1.0", "MIT"),
    Package("npm", "remixicon", "4.9.1", "Apache-2.0"),
)
THINGS = (
    "camera", "heart", "star", "bell", "book", "car", "airplane", "cloud", "umbrella", "key", "gift", "cup", "fish",
    "tree", "flower", "moon", "anchor", "hammer", "scissors", "phone", "bus", "train", "rocket", "wallet", "bicycle",
    "boat", "clock", "eye", "flag", "lightbulb",
)  # fmt: skip
STYLES = (
    "fill",
    "filled",
    "outline",
    "sharp",
    "bold",
    "thin",
    "light",
    "duotone",
    "line",
    "variant",
    "solid",
    "half",
)
ENDINGS = frozenset([*STYLES, "2", "3", "4", "alt", "simple", "regular", "front", "rear", "side"])
"""Words after a thing's in a file's name that tell of the style or the view alone."""
OTHER_WORDS = {"bicycle": "bike", "airplane": "plane", "boat": "sailboat"}
CLIP_ART = Package("debian", "openclipart-svg", "1:0.18+dfsg-19", "public-domain")
FOLDERS = {
    "fruit": "food/fruit",
    "mammal": "animals/mammals",
    "bird": "animals/birds",
    "insect": "animals/bugs",
    "fish": "animals/fish",
    "flower": "plants/flowers",
    "musical instrument": "recreation/music",
    "sport": "recreation/sports",
    "dessert": "food/desserts",
    "drink": "food/beverages",
    "vehicle": "transportation/vehicles",
    "boat": "transportation/boating",
    "house": "buildings/homes",
    "weapon": "tools/weapons",
    "hat": "people/clothing/hats",
    "stick figure": "people/stickmen",
    "road sign": "transportation/roadsigns",
    "clock": "signs_and_symbols/clocks",
    "meat or egg": "food/meats_and_eggs",
    "bread": "food/breads_and_carbs",
    "part of the body": "people/bodypart",
    "jigsaw piece": "shapes/jigsaw",
    "weather symbol": "signs_and_symbols/weather",
    "toy": "recreation/toys",
    "computer hardware": "computer/hardware",
}
MOST = 60


@cache
def things() -> dict[str, list[Path]]:
    """Thing -> drawings whose file name is the thing's with nothing but words of style."""
    wanted = {OTHER_WORDS.get(thing, thing): thing for thing in THINGS} | {thing: thing for thing in THINGS}
    found: dict[str, list[Path]] = {thing: [] for thing in THINGS}
    for package in PICTOGRAMS:
        for path in sorted(package.fetch().rglob("*.svg")):
            first, *rest = path.stem.split("-")
            if first in wanted and ENDINGS.issuperset(rest):
                found[wanted[first]].append(path)
    return found


def pictograms() -> Labelled:
    return of_files(things(), 40, side=128)[1]()


def clip_art() -> Labelled:
    root = CLIP_ART.fetch() / "usr" / "share" / "openclipart" / "svg"
    return of_files({label: sorted((root / under).rglob("*.svg")) for label, under in FOLDERS.items()}, MOST)[
        1
    ]()


TUNING = Definition("pictograms-tune", "one-colour pictograms", "tune", THINGS, pictograms, PICTOGRAMS)
JUDGING = Definition(
    "clipart-judge", "clip art, by what it shows", "judge", tuple(FOLDERS), clip_art, (CLIP_ART,)
)
