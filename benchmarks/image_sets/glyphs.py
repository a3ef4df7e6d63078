"""Letters and signs drawn by many typefaces: the character is the label, the typeface and the print vary."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks.image_sets.definitions import Definition, Labelled, Side
from benchmarks.image_sets.packages import Package
from benchmarks.image_sets.reading import seed_of


def debian(name: str, version: str, licence: str = "OFL-1.1") -> Package:
    return Package("debian", f"fonts-{name}", version, licence)


TUNING_FONTS = (
    debian("lato", "2.0-2.1"),
    debian("comic-neue", "2.51-4"),
    debian("cantarell", "0.303.1-1"),
    debian("adf-accanthis", "0.20190904-2", "GPL-2.0+ with font exception"),
    debian("adf-universalis", "0.20190904-2", "GPL-2.0+ with font exception"),
    debian("adf-gillius", "0.20190904-2", "GPL-2.0+ with font exception"),
    debian("dustin", "20030517-14", "GPL-2.0+"),
    debian("averia-gwf", "1.00-3.1"),
    debian("dosis", "1.7-3"),
    debian("quicksand", "0.2016-2.1"),
    debian("tomsontalks", "1.1-9", "GPL-2.0+"),
    debian("breip", "1:0.5.1-3"),
    debian("kristi", "20101220-1"),
    debian("isabella", "1.202-4", "LGPL-2.0+"),
    debian("ecolier-court", "1.00-6"),
    debian("humor-sans", "1.0-4"),
    debian("dancingscript", "1.2-2"),
    debian("lobster", "2.0-2.1"),
    debian("inconsolata", "001.010-6"),
    debian("courier-prime", "0+git20190115-3"),
    debian("anonymous-pro", "1.003-4"),
    debian("mononoki", "1.5+dfsg-1"),
    debian("okolaks", "0.6.0-2"),
    debian("rufscript", "010-6", "GPL-3.0 with font exception"),
    debian("fanwood", "1.1-7", "MIT"),
    debian("century-catalogue", "001.001-8"),
    debian("beteckna", "0.5-3", "GPL-3.0"),
    debian("roboto-slab", "1.100263+20170512-2", "Apache-2.0"),
)
JUDGING_FONTS = (
    debian("dejavu-core", "2.37-6", "Bitstream-Vera"),
    debian("urw-base35", "20200910-7", "AGPL-3.0 with font exception"),
    debian("freefont-ttf", "20120503-10", "GPL-3.0+ with font exception"),
    debian("linuxlibertine", "5.3.0-6"),
    debian("open-sans", "1.11-2", "Apache-2.0"),
    debian("roboto-unhinted", "2:0~20170802-3", "Apache-2.0"),
    debian("croscore", "20201225-1", "Apache-2.0"),
    debian("crosextra-carlito", "20220224-1"),
    debian("sil-charis", "6.101-1"),
    debian("sil-andika", "6.101-2"),
    debian("cmu", "0.7.0-5"),
    debian("jura", "5.103-3"),
    debian("paratype", "20181108-3"),
    debian("comfortaa", "3.001-3"),
    debian("ebgaramond", "0.016+git20210310.42d4f9f2-1"),
    debian("junicode", "2+git20230104+ds-1"),
    debian("stix", "1.1.1-4.1"),
    debian("hack", "3.003-3", "MIT"),
    debian("firacode", "6.2-2"),
    debian("vollkorn", "4.105-2"),
    debian("jetbrains-mono", "2.242+ds-3"),
    debian("gfs-didot", "1.1-7"),
    debian("gfs-neohellenic", "1.1-7"),
)
LATIN = "abcdefghijklmnopqrstuvwxyz"
OTHERS = (
    "αβγδεζηθκλμξπρσφχψωΓΔΘΛΞΠΣΨΩбвгджзийлнптцчшщъыьэюяБДЖЗИЛЦЧШЩЫЭЮЯ&@§¶%#$€£¥©®?!+=÷×∞√∑∫≈≠≤≥†‡«[{<^~*/µ¿¡ß"
)
SIDE = 96
INKS = ((20, 20, 20), (120, 20, 30), (20, 60, 120), (20, 90, 50), (90, 60, 20), (70, 70, 70))
PAPERS = ((255, 255, 255), (245, 238, 220), (225, 232, 240), (205, 205, 205), (250, 235, 150))


@cache
def _faces(fonts: tuple[Package, ...]) -> list[Path]:
    """Every typeface's file, in an order that mixes the makers."""
    found = [
        path for font in fonts for path in font.fetch().rglob("*") if path.suffix in (".ttf", ".otf", ".t1")
    ]
    return sorted((path for path in found if not path.is_symlink()), key=lambda path: seed_of(path.name))


def _mask(face: ImageFont.FreeTypeFont, character: str) -> bytes:
    return bytes(face.getmask(character))


def _shows(face: ImageFont.FreeTypeFont, character: str) -> bool:
    """Whether the typeface has the character, that is draws something else than for one that nobody has."""
    drawn = _mask(face, character)
    return any(drawn) and drawn != _mask(face, "\U0010fffd") and drawn != _mask(face, "\ue0fe")


def draw(face: ImageFont.FreeTypeFont, character: str, rng: np.random.Generator) -> Image.Image:
    """RGB of 96 x 96: the character turned a little, moved, in some ink on some paper, printed not quite well."""
    ink = INKS[rng.integers(len(INKS))]
    paper = PAPERS[rng.integers(len(PAPERS))]
    if rng.random() < 0.15:
        ink, paper = paper, ink
    left, top, right, bottom = face.getbbox(character)
    width, height = right - left, bottom - top
    # Wide signs are drawn smaller; nothing is drawn to one height, so that small letters stay small.
    scale = min(1.0, 0.8 * SIDE / max(width, height, 1)) * rng.uniform(0.75, 1.0)
    sheet = Image.new("L", (SIDE, SIDE), 0)
    ImageDraw.Draw(sheet).text(
        (SIDE / 2 - width / 2 - left, SIDE / 2 - height / 2 - top), character, fill=255, font=face
    )
    turned = sheet.rotate(
        rng.uniform(-12, 12), Image.Resampling.BICUBIC, translate=tuple(rng.integers(-6, 7, 2).tolist())
    )
    small = turned.resize((max(8, round(SIDE * scale)),) * 2, Image.Resampling.BILINEAR)
    place = (SIDE - small.width) // 2
    sheet = Image.new("L", (SIDE, SIDE), 0)
    sheet.paste(small, (place, place))
    if rng.random() < 0.4:
        sheet = sheet.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.4)))
    share = np.asarray(sheet, np.float32)[..., None] / 255
    pixels = share * np.array(ink, np.float32) + (1 - share) * np.array(paper, np.float32)
    pixels += rng.normal(0, rng.uniform(0, 10), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def characters(
    name: str, side: Side, fonts: tuple[Package, ...], letters: str, most: int, views: int = 1
) -> Definition:
    """At most so many images of each character, `views` of each typeface."""

    def images() -> Labelled:
        taken = [0] * len(letters)
        for path in _faces(fonts):
            try:
                face = ImageFont.truetype(str(path), 64)
            except OSError:
                continue
            for label, character in enumerate(letters):
                if taken[label] < most and _shows(face, character):
                    rng = np.random.default_rng(seed_of(path.name, character))
                    for _ in range(views):
                        taken[label] += 1
                        yield draw(face, character, rng), label

    classes = tuple(unicodedata.name(letter).lower() for letter in letters)
    return Definition(name, "characters of many typefaces", side, classes, images, fonts)


TUNING = characters("letters-tune", "tune", TUNING_FONTS, LATIN, 40)
JUDGING = characters("characters-judge", "judge", JUDGING_FONTS, OTHERS[::2], 62)
CURVE = characters("characters-many", "judge", JUDGING_FONTS, OTHERS, 220, views=2)
