"""What priors are fitted on: an encoder's image sets, and episodes that are drawn of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.families import FAMILIES
from app.heads.priors import Priors, ShotRow
from app.heads.types import Doubles, Floats
from app.inference.protocols import Encoder
from benchmarks.image_sets import ImageSet, catalogue
from scripts.episodes import Episode
from scripts.natural_classes import imagenet_like

BACKGROUND = 220


class Source(NamedTuple):
    """An encoder, by what is fitted and where it is written, and its image sets."""

    name: str
    fingerprint: str
    temperature: float
    sets: list[ImageSet]

    @property
    def background(self) -> tuple[Floats, NDArray[np.str_]]:
        """Images of all sets, and the set of each."""
        rng = np.random.default_rng(0)
        each = -(-BACKGROUND // len(self.sets))
        chosen = [s.vectors[rng.permutation(len(s.vectors))[:each]] for s in self.sets]
        owners = np.repeat([s.name for s in self.sets], [len(rows) for rows in chosen])
        return np.concatenate(chosen).astype(np.float16).astype(np.float32), owners


class DrawnEpisodes(NamedTuple):
    """Episodes of one encoder with so many examples a label."""

    episodes: list[Episode]
    draft: Priors
    source: Source

    @property
    def traits(self) -> Doubles:
        """float64[n, 3]"""
        return np.array([episode.traits(self.draft) for episode in self.episodes])

    def blind(self, row: ShotRow) -> Iterator[tuple[Episode, Priors]]:
        """Each episode with priors of that row, whose background images are of other sets than the episode's own."""
        owners = self.source.background[1]
        for episode in self.episodes:
            vectors = self.draft.background
            if vectors is not None:
                vectors = vectors[owners != episode.kind]
            yield episode, replace(self.draft, shots=(row,), background=vectors)


def source_of(model: Encoder) -> Source:
    """What priors are fitted on: all that may be tuned on, and simulated photos where the encoder names classes."""
    sets = catalogue.tuning_sets(model)
    named = FAMILIES.get(model.family).named_classes(model.name)
    if named is not None:
        photos = next(image_set for image_set in sets if image_set.name == "others")
        sets.append(imagenet_like(photos.vectors, *named))
    return Source(model.name, model.fingerprint, model.temperature, sets)
