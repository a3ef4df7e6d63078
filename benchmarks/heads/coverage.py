"""How often sets of labels hold the truth, beside what they promise."""

from __future__ import annotations

import numpy as np

from app.heads import Head, Priors
from app.heads.answer_sets import answer_sets
from benchmarks.heads.classifiers import fit_default
from benchmarks.heads.episodes import Episode
from benchmarks.heads.measuring import Figures, episodes
from benchmarks.image_sets import ImageSet

COVERAGES = (0.9, 0.95)
FEWEST_SHOTS = 3
"""Below it nothing is promised."""


class Held:
    """Whether sets held the truth, gathered over the episodes of an image set."""

    def __init__(self) -> None:
        self.held: list[np.ndarray] = []
        self.strictly: list[np.ndarray] = []
        """The same where sets may be empty, which keeps to the coverage also where a head is right more often."""
        self.sizes: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        """Which label of which episode an image shows."""
        self.guarantees: list[str] = []

    def add(self, head: Head, episode: Episode, coverage: float) -> None:
        """Ask all images of an episode that show a label."""
        scores = head.predict(episode.queries).scores
        if head.conformal is None:
            raise ValueError("a head without examples has no sets to measure")
        found = answer_sets(head.conformal, scores, coverage)
        strict = head.conformal.answer_sets(scores, coverage, allow_empty=True)
        for kept, sets in ((self.held, found), (self.strictly, strict)):
            kept.append(
                np.array(
                    [
                        truth in answer_set.labels
                        for answer_set, truth in zip(sets, episode.answers, strict=True)
                    ]
                )
            )
        self.sizes.append(np.array([len(answer_set.labels) for answer_set in found]))
        self.labels.append(episode.answers + 1_000 * len(self.guarantees))
        self.guarantees.append(found[0].guarantee)

    def figures(self) -> Figures:
        """Shares of images whose set held the truth, the mean over labels and how much these vary, and sizes."""
        held, strictly = np.concatenate(self.held), np.concatenate(self.strictly)
        labels = np.concatenate(self.labels)
        by_label = np.array([strictly[labels == label].mean() for label in np.unique(labels)])
        return {
            "guarantee": max(set(self.guarantees), key=self.guarantees.count),
            "held": float(held.mean()),
            "strictly": float(strictly.mean()),
            "by label": float(by_label.mean()),
            "spread": float(by_label.std()),
            "images a label": len(held) / len(by_label),
            "size": float(np.concatenate(self.sizes).mean()),
        }


def coverage(sets: list[ImageSet], priors: Priors, seeds: int) -> Figures:
    """By wanted coverage, set and shots, see `Held.figures`."""
    gathered: dict[str, dict[str, dict[str, Held]]] = {}
    for images, shots, _, episode in episodes(sets, seeds):
        if shots < FEWEST_SHOTS:
            continue
        head = fit_default(episode, priors)
        for wanted in COVERAGES:
            of_set = gathered.setdefault(str(wanted), {}).setdefault(images.name, {})
            of_set.setdefault(str(shots), Held()).add(head, episode, wanted)
    return {
        wanted: {
            name: {shots: held.figures() for shots, held in by_shots.items()}
            for name, by_shots in by_set.items()
        }
        for wanted, by_set in gathered.items()
    }
