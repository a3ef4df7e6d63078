"""All image sets by the side that they are for: none of those that judge is ever tuned on.

python -m benchmarks.image_sets            tells what there is
python -m benchmarks.image_sets fetch      fetches every package that a set needs
"""

from __future__ import annotations

from app.inference.protocols import Encoder
from benchmarks.image_sets import damage, drawings, games, glyphs, icons, installed, textures
from benchmarks.image_sets.definitions import Definition
from benchmarks.image_sets.embedding import ImageSet, embed_defined

TUNING: tuple[Definition, ...] = (
    icons.TUNING,
    drawings.TUNING,
    glyphs.TUNING,
    *damage.TUNING,
    textures.TUNING,
)
"""What priors and defaults may be chosen on, beside the installed ones."""
JUDGING: tuple[Definition, ...] = (
    icons.JUDGING,
    drawings.JUDGING,
    glyphs.JUDGING,
    *games.JUDGING,
    *textures.JUDGING,
)
"""What published figures are measured on: other labels of other makers, and other packages wherever possible."""
CURVES: tuple[Definition, ...] = (glyphs.JUDGING, *textures.CURVES)
"""Sets of 20,000 images, for accuracy over the number of examples."""


def tuning_sets(model: Encoder) -> list[ImageSet]:
    """Everything that may be tuned on; the small ones that are installed first."""
    return [
        installed.photos(model, installed.OTHERS, "others"),
        installed.shapes(model, split="train"),
        installed.digits(model, half=0),
        installed.faces(model),
        *[embed_defined(model, definition) for definition in TUNING],
    ]


def judging_sets(model: Encoder) -> list[ImageSet]:
    """Everything that is measured on."""
    return [
        installed.photos(model, installed.SHOWN, "photos"),
        installed.shapes(model, split="test"),
        installed.digits(model, half=1),
        *[embed_defined(model, definition) for definition in JUDGING],
    ]
