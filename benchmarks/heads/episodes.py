"""Episodes: a few labels of an image set are taught with a few examples, others are unknown."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.image_sets import ImageSet

MAX_LABELS = 20
QUERIES = 10
"""Most images of a label that are asked about."""
FEWEST_QUERIES = 4
UNKNOWN = 60
"""Most images of held-out labels, and of other sets."""


@dataclass(frozen=True)
class Episode:
    """Supports and queries of C labels, and images that show none of them."""

    supports: NDArray[np.float32]
    labels: NDArray[np.int64]
    queries: NDArray[np.float32]
    answers: NDArray[np.int64]
    texts: NDArray[np.float32]
    near: NDArray[np.float32]
    """Images of the set's other labels; none where all are taught."""
    far: NDArray[np.float32]
    """Images of other sets."""

    @property
    def is_balanced(self) -> bool:
        """Whether every label has as many examples."""
        return len(set(np.bincount(self.labels, minlength=len(self.texts)).tolist())) == 1


def draw(
    images: ImageSet, far: NDArray[np.float32], counts: tuple[int, ...], rng: np.random.Generator
) -> Episode | None:
    """An episode whose labels have `counts[0]`, `counts[1]`, ... examples, the last count for all that follow.

    Two thirds of the labels that have enough images are taught, 2 to 20 of them. None where fewer than half of the
    set's labels have enough.
    """
    rows = [np.flatnonzero(images.labels == label) for label in range(len(images.classes))]
    most = max(counts)
    able = [label for label, found in enumerate(rows) if len(found) >= most + FEWEST_QUERIES]
    if len(able) < max(2, len(rows) / 2):
        return None
    inside = rng.permutation(able)[: min(max(2, round(len(able) * 2 / 3)), MAX_LABELS)]
    supports, labels, queries, answers = [], [], [], []
    for position, label in enumerate(inside):
        count = counts[min(position, len(counts) - 1)]
        # Queries first, so that they are the same at every number of examples.
        order = np.random.default_rng([int(label), int(rng.integers(2**31))]).permutation(rows[label])
        asked = min(QUERIES, len(order) - most)
        queries.append(images.vectors[order[:asked]])
        answers.append(np.full(asked, position))
        supports.append(images.vectors[order[asked : asked + count]])
        labels.append(np.full(count, position))
    near = np.flatnonzero(~np.isin(images.labels, inside))
    return Episode(
        np.concatenate(supports),
        np.concatenate(labels),
        np.concatenate(queries),
        np.concatenate(answers),
        images.texts[inside],
        images.vectors[rng.permutation(near)[:UNKNOWN]],
        far[rng.permutation(len(far))[:UNKNOWN]],
    )


def alternating(many: int, few: int) -> tuple[int, ...]:
    """Counts by which every other label is scarce."""
    return (many, few) * (MAX_LABELS // 2)


def mislabel(episode: Episode, share: float, rng: np.random.Generator) -> Episode:
    """The same with so large a share of the examples under another label of the episode; every label keeps one."""
    labels = episode.labels.copy()
    wrong = rng.permutation(len(labels))[: round(share * len(labels))]
    classes = len(episode.texts)
    for row in wrong:
        if np.sum(labels == labels[row]) > 1:
            labels[row] = (labels[row] + rng.integers(1, classes)) % classes
    return replace(episode, labels=labels)


def draw_many(images: ImageSet, size: int, rng: np.random.Generator, asked: int = 1000) -> Episode | None:
    """An episode of all labels with `size` examples in all, at least one of each; None where the set has too few."""
    order = rng.permutation(len(images.labels))
    queries, rest = order[:asked], order[asked:]
    first = np.array(
        [np.flatnonzero(images.labels[rest] == label)[0] for label in range(len(images.classes))]
    )
    if size > len(rest) or size < len(first):
        return None
    others = np.setdiff1d(np.arange(size + len(first)), first)[: size - len(first)]
    taught = rest[np.concatenate([first, others])]
    nothing = images.vectors[:0]
    return Episode(
        images.vectors[taught],
        images.labels[taught],
        images.vectors[queries],
        images.labels[queries],
        images.texts,
        nothing,
        nothing,
    )
