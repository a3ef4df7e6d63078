"""Accuracy, rejection and calibration over the numbers of examples, on every judging set that has enough images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.heads import Head, Priors
from benchmarks.heads.classifiers import DEFAULT, fit_default, plain_answers
from benchmarks.heads.episodes import Episode, draw
from benchmarks.image_sets import ImageSet
from benchmarks.scores import (
    auroc,
    best_balance,
    calibration_error_by_chance,
    expected_calibration_error,
    reliability,
)

WALLS = ("textures-", "damage-", "crack-")
"""Sets that may show one and the same wall."""
SHOTS = (1, 2, 5, 10, 20, 50)
Doubles = NDArray[np.float64]
Figures = dict[str, Any]
"""What is written as JSON: nested dictionaries of numbers and lists."""


def others(sets: list[ImageSet], images: ImageSet) -> NDArray[np.float32]:
    """Images of all unrelated sets, as many of each at most, so that a large set is not all that is unknown."""
    walls = images.name.startswith(WALLS)
    unrelated = [
        other for other in sets if other is not images and not (walls and other.name.startswith(WALLS))
    ]
    return np.concatenate([other.vectors[:: max(1, len(other.vectors) // 100)] for other in unrelated])


def episodes(sets: list[ImageSet], seeds: int) -> Iterator[tuple[ImageSet, int, int, Episode]]:
    """Set, shots, seed and episode; the same ones whatever the features are, so that figures can be paired."""
    for images in sets:
        far = others(sets, images)
        for shots in SHOTS:
            for seed in range(seeds):
                episode = draw(images, far, (shots,), np.random.default_rng([seed, shots]))
                if episode is not None:
                    yield images, shots, seed, episode


class HeadAnswers:
    """What a head says to an episode's images, gathered over episodes."""

    def __init__(self) -> None:
        self.parts: list[tuple[Doubles, ...]] = []

    def add(self, head: Head, episode: Episode) -> float:
        """Ask all images of an episode; the accuracy."""
        known = head.predict(episode.queries)
        scores = known.scores.astype(np.float64)
        right = (scores.argmax(axis=1) == episode.answers).astype(np.float64)
        near, far = (
            head.predict(images).scores.max(axis=1).astype(np.float64) if len(images) else np.zeros(0)
            for images in (episode.near, episode.far)
        )
        best = scores.max(axis=1)
        without_none = best / np.maximum(scores.sum(axis=1), 1e-12)
        threshold = np.array([head.threshold])
        self.parts.append((best, without_none, right, near, far, threshold))
        return float(right.mean())

    def figures(self) -> Figures:
        """Rejection and calibration over all episodes; the best threshold is one for all of them."""
        best, without_none, right, near, far, _ = (
            np.concatenate(column) for column in zip(*self.parts, strict=True)
        )
        # Scores are compared with each episode's own threshold.
        above = [part[0] >= part[5] for part in self.parts]
        below = [np.r_[part[3], part[4]] < part[5] for part in self.parts]
        near_below = [part[3] < part[5] for part in self.parts if len(part[3])]
        far_below = [part[4] < part[5] for part in self.parts]
        accepted = float(np.mean(np.concatenate(above)))
        right_accepted = float(np.mean(np.concatenate(above) * right))
        refused = float(np.mean(np.concatenate(below)))
        unknown = np.r_[near, far]
        best_value, best_at = best_balance(best, right, unknown)
        half = len(best) // 2
        mixed = np.r_[
            best, np.resize(near, half) if len(near) else np.resize(far, half), np.resize(far, half)
        ]
        mixed_right = np.r_[right, np.zeros(2 * half)]
        return {
            "accuracy": float(right.mean()),
            "accepted": accepted,
            "right accepted": right_accepted,
            "unknown refused": refused,
            "near refused": float(np.mean(np.concatenate(near_below))) if near_below else None,
            "far refused": float(np.mean(np.concatenate(far_below))),
            "balance": (right_accepted + refused) / 2,
            "best balance": best_value,
            "best threshold": min(best_at, 1.0),
            "threshold": float(np.mean([part[5][0] for part in self.parts])),
            "near AUROC": auroc(best, near) if len(near) else None,
            "far AUROC": auroc(best, far),
            "ECE": expected_calibration_error(best, right),
            "ECE by chance": calibration_error_by_chance(best),
            "ECE without none": expected_calibration_error(without_none, right),
            "ECE mixed": expected_calibration_error(mixed, mixed_right),
            "reliability": [column.tolist() for column in reliability(best, right)],
            "reliability mixed": [column.tolist() for column in reliability(mixed, mixed_right)],
        }


def measure(
    sets: list[ImageSet],
    priors: Priors,
    seeds: int,
    plain: list[str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Figures:
    """`accuracy` by set, shots and method, a figure an episode; `default` by set and shots, see `Asked.figures`."""
    accuracy: dict[str, dict[str, dict[str, list[float]]]] = {}
    asked: dict[str, dict[str, HeadAnswers]] = {}
    for images, shots, _, episode in episodes(sets, seeds):
        by_method = accuracy.setdefault(images.name, {}).setdefault(str(shots), {})
        gathered = asked.setdefault(images.name, {}).setdefault(str(shots), HeadAnswers())
        found = {DEFAULT: gathered.add(fit_default(episode, priors), episode)}
        if len(gathered.parts) == seeds:
            tell(f"{images.name}, {shots} shots: {np.mean([part[2].mean() for part in gathered.parts]):.3f}")
        answers = plain_answers(episode, plain)
        found |= {name: float(np.mean(told == episode.answers)) for name, told in answers.items()}
        for name, share in found.items():
            by_method.setdefault(name, []).append(share)
    judged = {name: {shots: all_of.figures() for shots, all_of in by.items()} for name, by in asked.items()}
    return {"accuracy": accuracy, "default": judged}
