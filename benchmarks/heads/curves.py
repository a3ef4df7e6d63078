"""Accuracy where examples are unbalanced, wrongly labelled, or many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from app.heads import Priors
from benchmarks.heads.classifiers import DEFAULT, fit_default, plain_answers
from benchmarks.heads.episodes import Episode, alternating, draw, draw_many, mislabel
from benchmarks.heads.measuring import Figures, others
from benchmarks.image_sets import ImageSet
from benchmarks.scores import balanced_accuracy, expected_calibration_error

IMBALANCES: dict[str, tuple[int, ...]] = {
    "20 : 2": alternating(20, 2),
    "50 : 10": alternating(50, 10),
    "one label with 1, others 50": (1, 50),
    "one label with 1, others 20": (1, 20),
}
NOISES = (0.0, 0.1, 0.2)
NOISY_SHOTS = 10
SIZES = (100, 200, 500, 1000, 1990, 2010, 5000, 10_000, 20_000)
MAX_SIZE_OF_REGRESSION = 2010
"""Past it logistic regression and the linear machine take minutes a fit."""
CHEAP = ["prototypes", "kNN"]


def _answers(episode: Episode, priors: Priors, names: list[str] | None = None) -> dict[str, np.ndarray]:
    scores = fit_default(episode, priors).predict(episode.queries).scores
    return {DEFAULT: scores.argmax(axis=1)} | plain_answers(episode, names)


def imbalance(sets: list[ImageSet], priors: Priors, seeds: int, names: list[str] | None = None) -> Figures:
    """By kind, set and method, an episode each: mean recall of the scarce labels, and balanced accuracy."""
    figures: Figures = {}
    for kind, counts in IMBALANCES.items():
        for images in sets:
            for seed in range(seeds):
                episode = draw(images, others(sets, images), counts, np.random.default_rng([seed, 77]))
                if episode is None:
                    continue
                sizes = np.bincount(episode.labels)
                scarce = np.flatnonzero(sizes == sizes.min())
                asked = np.isin(episode.answers, scarce)
                for name, told in _answers(episode, priors, names).items():
                    found = figures.setdefault(kind, {}).setdefault(images.name, {}).setdefault(name, [])
                    recall = balanced_accuracy(told[asked], episode.answers[asked])
                    found.append((recall, balanced_accuracy(told, episode.answers)))
    return figures


def noise(sets: list[ImageSet], priors: Priors, seeds: int, names: list[str] | None = None) -> Figures:
    """By share of wrong labels, set and method: accuracy an episode."""
    figures: Figures = {}
    for share in NOISES:
        for images in sets:
            for seed in range(seeds):
                rng = np.random.default_rng([seed, 78])
                clean = draw(images, others(sets, images), (NOISY_SHOTS,), rng)
                if clean is None:
                    continue
                episode = mislabel(clean, share, np.random.default_rng([seed, 79]))
                for name, told in _answers(episode, priors, names).items():
                    found = (
                        figures.setdefault(f"{share:.0%}", {})
                        .setdefault(images.name, {})
                        .setdefault(name, [])
                    )
                    found.append(float(np.mean(told == episode.answers)))
    return figures


def size(
    sets: list[ImageSet], priors: Priors, seeds: int, tell: Callable[[str], None] = lambda _: None
) -> Figures:
    """By set, number of examples and method: accuracy an episode; the default's calibration error as `ECE`."""
    figures: Figures = {}
    for images in sets:
        for count in SIZES:
            for seed in range(seeds if count <= 5000 else min(seeds, 2)):
                episode = draw_many(images, count, np.random.default_rng([seed, 80]))
                if episode is None:
                    continue
                head = fit_default(episode, priors)
                scores = head.predict(episode.queries).scores.astype(np.float64)
                answers = {DEFAULT: scores.argmax(axis=1)}
                answers |= plain_answers(episode, None if count <= MAX_SIZE_OF_REGRESSION else CHEAP)
                shares = {name: float(np.mean(told == episode.answers)) for name, told in answers.items()}
                right = (answers[DEFAULT] == episode.answers).astype(np.float64)
                shares["ECE"] = expected_calibration_error(scores.max(axis=1), right)
                for name, share in shares.items():
                    found = (
                        figures.setdefault(images.name, {}).setdefault(str(count), {}).setdefault(name, [])
                    )
                    found.append(share)
                tell(f"{images.name} {count} ({head.kind}): {shares[DEFAULT]:.3f}")
    return figures
