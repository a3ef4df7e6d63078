"""Scores of collections that were taught bursts: frames of one picture, which tell hardly more than one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from app.heads import Priors
from benchmarks.heads.classifiers import DEFAULT, PLAIN, fit_default
from benchmarks.heads.episodes import FEWEST_QUERIES, MAX_LABELS, QUERIES, UNKNOWN, Episode
from benchmarks.heads.measuring import Figures, HeadAnswers, others
from benchmarks.image_sets import ImageSet
from benchmarks.image_sets.bursts import FRAMES, PER_LABEL

BURSTS = 3
CASES = ("one burst a label", f"{BURSTS} bursts a label", f"one burst or {FRAMES} pictures")
"""What labels are taught; in the last every other label one burst."""
FIRST_FRAMES = "first frames alone"
BESIDE = ("logistic regression", "prototypes")


@dataclass(frozen=True)
class BurstEpisode:
    """An episode, and which of its supports are no later frames of a burst."""

    episode: Episode
    first: np.ndarray
    """bool[n]"""

    def without_repeats(self) -> Episode:
        """The same, taught the first frame of each burst only."""
        episode = self.episode
        return replace(episode, supports=episode.supports[self.first], labels=episode.labels[self.first])


def draw(
    images: ImageSet, shot: ImageSet, far: np.ndarray, case: str, rng: np.random.Generator
) -> BurstEpisode | None:
    """Two thirds of the labels, 2 to 20 of them; None where fewer than half of them have enough images.

    `shot` are the bursts of `images`, whose first pictures they begin with: what is asked about is none of these.
    """
    frames = shot.vectors.reshape(-1, FRAMES, shot.vectors.shape[1])
    taken = shot.labels[::FRAMES]
    rows = [np.flatnonzero(images.labels == label) for label in range(len(images.classes))]
    able = [label for label, found in enumerate(rows) if len(found) >= PER_LABEL + FRAMES + FEWEST_QUERIES]
    if len(able) < max(2, len(rows) / 2):
        return None
    inside = rng.permutation(able)[: min(max(2, round(len(able) * 2 / 3)), MAX_LABELS)]
    supports, labels, first, queries, answers = [], [], [], [], []
    for position, label in enumerate(inside):
        rest = rng.permutation(rows[label][PER_LABEL:])
        if case == CASES[2] and position % 2:
            taught, begins = images.vectors[rest[:FRAMES]], np.ones(FRAMES, bool)
        else:
            count = BURSTS if case == CASES[1] else 1
            chosen = rng.permutation(np.flatnonzero(taken == label))[:count]
            taught = frames[chosen].reshape(-1, frames.shape[2])
            begins = np.arange(len(taught)) % FRAMES == 0
        supports.append(taught)
        labels.append(np.full(len(taught), position))
        first.append(begins)
        asked = rest[FRAMES : FRAMES + QUERIES]
        queries.append(images.vectors[asked])
        answers.append(np.full(len(asked), position))
    near = np.flatnonzero(~np.isin(images.labels, inside))
    episode = Episode(
        np.concatenate(supports),
        np.concatenate(labels),
        np.concatenate(queries),
        np.concatenate(answers),
        images.texts[inside],
        images.vectors[rng.permutation(near)[:UNKNOWN]],
        far[rng.permutation(len(far))[:UNKNOWN]],
    )
    return BurstEpisode(episode, np.concatenate(first))


def bursts(sets: list[ImageSet], shot: list[ImageSet], priors: Priors, seeds: int) -> Figures:
    """By case, set and method: `HeadAnswers.figures` of the head, accuracies of others, and what chance would have."""
    figures: Figures = {}
    for case in CASES:
        for images, frames in zip(sets, shot, strict=True):
            asked = {DEFAULT: HeadAnswers(), FIRST_FRAMES: HeadAnswers()}
            plain: dict[str, list[float]] = {"chance": [], **{name: [] for name in BESIDE}}
            far = others(sets, images)
            for seed in range(seeds):
                drawn = draw(images, frames, far, case, np.random.default_rng([seed, 81]))
                if drawn is None:
                    continue
                episode = drawn.episode
                asked[DEFAULT].add(fit_default(episode, priors), episode)
                asked[FIRST_FRAMES].add(fit_default(drawn.without_repeats(), priors), episode)
                plain["chance"].append(1.0 / len(episode.texts))
                for name in BESIDE:
                    told = PLAIN[name](episode)(episode.queries)
                    plain[name].append(float(np.mean(told == episode.answers)))
            if asked[DEFAULT].parts:
                found = {name: answers.figures() for name, answers in asked.items()}
                found |= {name: {"accuracy": float(np.mean(shares))} for name, shares in plain.items()}
                figures.setdefault(case, {})[images.name] = found
    return figures
