"""What an image set is before any encoder has seen it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from benchmarks.image_sets.packages import Package
from benchmarks.image_sets.reading import read, seed_of

Side = Literal["tune", "judge"]
"""What a set is for: to fit priors and choose defaults on, or to publish figures of; never both."""
Labelled = Iterable[tuple[Image.Image, int]]


@dataclass(frozen=True)
class Definition:
    """A labelled image set and where it comes from."""

    name: str
    kind: str
    side: Side
    classes: tuple[str, ...]
    images: Callable[[], Labelled]
    """RGB images, each with the index of its class."""
    sources: tuple[Package, ...]


def of_files(
    paths: Mapping[str, Sequence[Path]], most: int, *, side: int = 192
) -> tuple[tuple[str, ...], Callable[[], Labelled]]:
    """Classes and images of files by class, at most so many of each, in an order that tells nothing."""

    def images() -> Labelled:
        for label, found in enumerate(paths.values()):
            taken = 0
            for path in sorted(found, key=lambda path: seed_of(*path.parts[-4:])):
                image = read(path, side) if taken < most else None
                if image is not None:
                    taken += 1
                    yield image, label

    return tuple(paths), images
