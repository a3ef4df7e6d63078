"""Scores of collections that have just been begun: some label a picture ahead, or one picture taken several times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.heads import Priors
from app.heads.types import unit
from benchmarks.heads.classifiers import fit_default
from benchmarks.heads.episodes import Episode, draw
from benchmarks.heads.measuring import Figures, HeadAnswers, others
from benchmarks.image_sets import ImageSet

CASES: dict[str, tuple[int, ...]] = {
    "one label with 2, others 1": (2, 1),
    "one label with 1, others 2": (1, 2),
    "2 of nearly one picture": (2,),
    "5 of nearly one picture": (5,),
}
"""Examples a label, as for `episodes.draw`."""
ALIKE = "nearly one picture"
DISTANCE = 0.05
"""Of the pictures of such a label from the first of them, as a share of their length: a cosine of about .998."""


def repeat_pictures(episode: Episode, rng: np.random.Generator) -> Episode:
    """The same with every label's examples nearly its first one."""
    first = np.searchsorted(episode.labels, episode.labels)
    noise = rng.normal(size=episode.supports.shape) / np.sqrt(episode.supports.shape[1])
    return replace(episode, supports=unit(episode.supports[first] + np.float32(DISTANCE) * noise))


def beginnings(sets: list[ImageSet], priors: Priors, seeds: int) -> Figures:
    """By case and set what `HeadAnswers.figures` has."""
    figures: Figures = {}
    for case, counts in CASES.items():
        for images in sets:
            asked = HeadAnswers()
            far = others(sets, images)
            for seed in range(seeds):
                rng = np.random.default_rng([seed, 79])
                episode = draw(images, far, counts, rng)
                if episode is None:
                    continue
                if case.endswith(ALIKE):
                    episode = repeat_pictures(episode, rng)
                asked.add(fit_default(episode, priors), episode)
            if asked.parts:
                figures.setdefault(case, {})[images.name] = asked.figures()
    return figures
