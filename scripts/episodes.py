"""Simulated collections drawn from image sets: a few examples of some labels, and images to ask about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from app.heads import Head, Priors, SupportSet, fit_head
from app.heads.gathering import SupportRows, gather
from app.heads.novelty import for_collection, likeness
from app.heads.types import Doubles, Floats, Ints
from benchmarks.image_sets import ImageSet

MAX_LABELS = 100
QUERIES = 120
"""Images of taught labels that are asked about, divided among the labels; at least one each."""
UNKNOWN = 60
"""Images of each kind of unknown that are asked about."""
UNEVEN = 0.8
"""Standard deviation of the logarithm of the number of examples of a label, where those are uneven."""


@dataclass(frozen=True)
class Episode:
    """Supports and queries of C labels, and images that show none of them."""

    kind: str
    """The image set."""
    supports: Floats
    labels: Ints
    queries: Floats
    answers: Ints
    texts: Floats
    near: Floats
    """float32[m, d]: images of the set's other classes; none where it has no others."""
    far: Floats
    """float32[m, d]: images of other sets."""

    @property
    def count(self) -> int:
        """Number of labels."""
        return len(self.texts)

    @property
    def unknown(self) -> list[Floats]:
        """The kinds of unknown images that there are."""
        return [images for images in (self.near, self.far) if len(images)]

    @cached_property
    def gathered(self) -> SupportRows:
        """The supports as arrays."""
        return gather(self.support_set(), list(range(self.count)))

    def support_set(self) -> SupportSet:
        """The supports under the ids 0, 1, ..."""
        supports = SupportSet(self.supports.shape[1])
        supports.add(self.labels, self.supports)
        return supports

    def head(self, priors: Priors) -> Head:
        """What a service would fit."""
        ids = list(range(self.count))
        return fit_head([str(label) for label in ids], self.texts, self.support_set(), ids, priors)

    def traits(self, priors: Priors) -> Doubles:
        """float64[3]: what the priors' coefficients are of; see `app.heads.priors.ShotRow`."""
        alike = likeness(self.gathered, for_collection(priors, self.gathered))
        return np.array([1.0, min(max(alike, 0.0), 1.0), np.log(max(self.count, 2))])


def draw(
    image_set: ImageSet,
    sets: list[ImageSet],
    shots: int,
    labels: int,
    rng: np.random.Generator,
    *,
    even: bool,
) -> Episode | None:
    """An episode of so many labels, or of as many as the set allows; None where it has too few images.

    If there are classes to spare, those without a label are the unknown that is near. With `even` false, the numbers
    of examples vary about `shots`.
    """
    counts = np.bincount(image_set.labels, minlength=len(image_set.classes))
    rich = rng.permutation(np.flatnonzero(counts > shots))
    if len(rich) < 2:
        return None
    spared = len(rich) // 4 if np.count_nonzero(counts) > 2 else 0
    inside = rich[: max(2, min(labels, len(rich) - spared))]
    each = max(1, QUERIES // len(inside))
    supports, owners, queries, answers = [], [], [], []
    for position, label in enumerate(inside):
        rows = rng.permutation(np.flatnonzero(image_set.labels == label))
        taught = shots
        if not even:
            taught = int(np.clip(round(shots * np.exp(rng.normal(0.0, UNEVEN))), 1, len(rows) - 1))
        supports.append(image_set.vectors[rows[:taught]])
        owners += [position] * taught
        queries.append(image_set.vectors[rows[taught : taught + each]])
        answers += [position] * len(queries[-1])
    near = rng.permutation(np.flatnonzero(~np.isin(image_set.labels, inside)))[:UNKNOWN]
    foreign = [other for other in sets if other.name != image_set.name]
    share = -(-UNKNOWN // max(len(foreign), 1))
    far = [other.vectors[rng.integers(0, len(other.vectors), share)] for other in foreign]
    return Episode(
        kind=image_set.name,
        supports=np.concatenate(supports),
        labels=np.array(owners, np.int64),
        queries=np.concatenate(queries),
        answers=np.array(answers, np.int64),
        texts=image_set.texts[inside],
        near=image_set.vectors[near],
        far=np.concatenate([*far, image_set.vectors[:0]]),
    )


def draw_all(
    sets: list[ImageSet], shots: int, each: int, rng: np.random.Generator, *, uneven: bool
) -> Iterator[Episode]:
    """`each` episodes of every set: a third of two labels, the others of 3 to `MAX_LABELS`, evenly by ratio.

    With `uneven`, every third has uneven numbers of examples.
    """
    for image_set in sets:
        most = min(MAX_LABELS, len(image_set.classes))
        for turn in range(each):
            labels = 2
            if turn % 3 and most > 2:
                labels = round(float(np.exp(rng.uniform(np.log(3), np.log(most)))))
            episode = draw(image_set, sets, shots, labels, rng, even=not uneven or turn % 3 != 1)
            if episode is not None:
                yield episode
