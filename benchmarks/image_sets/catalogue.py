"""All image sets by the side that they are for: none of those that judge is ever tuned on.

python -m benchmarks.image_sets            tells what there is
python -m benchmarks.image_sets fetch      fetches every package that a set needs
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from app.inference.protocols import Encoder
from benchmarks.image_sets import damage, drawings, games, glyphs, icons, installed, textures
from benchmarks.image_sets.definitions import Definition
from benchmarks.image_sets.embedding import ImageSet, embed

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
CURVES: tuple[Definition, ...] = (glyphs.CURVE, *textures.CURVES)
"""Sets of 20,000 images, for accuracy over the number of examples."""


def load(model: Encoder, definition: Definition) -> ImageSet:
    """A set's vectors and texts; raises `PackageUnavailableError` where its images cannot be fetched."""
    return embed(model, definition.name, definition.images, definition.classes)


def tuning_sets(model: Encoder) -> list[ImageSet]:
    """Everything that may be tuned on; those that need no fetching first."""
    return [
        installed.photos(model, installed.OTHERS, "others"),
        installed.shapes(model, split="train"),
        installed.digits(model, half=0),
        installed.faces(model),
        *[load(model, definition) for definition in TUNING],
    ]


def judging_sets(model: Encoder, names: Sequence[str] | None = None) -> list[ImageSet]:
    """What is measured on: all, or those of some names. Raises ValueError for a name that no set has."""
    makers: dict[str, Callable[[], ImageSet]] = {
        "photos": lambda: installed.photos(model, installed.SHOWN, "photos"),
        "shapes-test": lambda: installed.shapes(model, split="test"),
        "digits-1": lambda: installed.digits(model, half=1),
    }
    for definition in JUDGING:
        makers[definition.name] = partial(load, model, definition)
    unknown = set(names or ()) - makers.keys()
    if unknown:
        raise ValueError(
            f"no judging set is called {', '.join(sorted(unknown))}; there are {', '.join(makers)}"
        )
    return [make() for name, make in makers.items() if not names or name in names]
