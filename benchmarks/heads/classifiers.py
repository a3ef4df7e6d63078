"""What is compared: the default head, and scikit-learn's plain classifiers on the same features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from app.heads import Head, Priors, SupportSet, fit_head
from benchmarks.heads.episodes import Episode

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Answers = Callable[[Floats], Ints]
"""float32[m, d] -> int64[m] labels."""
DEFAULT = "default"
INVERSE_PENALTY = 100.0
"""C of the logistic regressions, the best of 1, 10 and 100 on seven tuning sets at 5 and 10 shots."""
MARGIN_PENALTY = 10.0
"""C of the linear machine, the best of .1, 1 and 10 there."""
NEIGHBOURS = 5


def fit_default(episode: Episode, priors: Priors) -> Head:
    """As a collection fits it: with the labels' texts, and whatever kind it chooses."""
    supports = SupportSet(episode.supports.shape[1])
    supports.add(episode.labels, episode.supports)
    names = [str(label) for label in range(len(episode.texts))]
    return fit_head(names, episode.texts, supports, list(range(len(names))), priors)


def logistic(episode: Episode, weight: str | None = None) -> Answers:
    from sklearn.linear_model import LogisticRegression  # with the first classifier: it takes seconds

    model = LogisticRegression(C=INVERSE_PENALTY, class_weight=weight, max_iter=200)
    return model.fit(episode.supports, episode.labels).predict


def machine(episode: Episode) -> Answers:
    from sklearn.svm import LinearSVC

    return LinearSVC(C=MARGIN_PENALTY).fit(episode.supports, episode.labels).predict


def prototypes(episode: Episode) -> Answers:
    """The label whose examples' mean has the largest cosine."""
    means = np.stack(
        [episode.supports[episode.labels == label].mean(axis=0) for label in range(len(episode.texts))]
    )
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return lambda features: (features @ means.T).argmax(axis=1)


def neighbours(episode: Episode) -> Answers:
    """Votes of the five nearest examples by cosine, near ones counting more."""
    from sklearn.neighbors import KNeighborsClassifier

    count = min(NEIGHBOURS, len(episode.labels))
    model = KNeighborsClassifier(count, weights="distance", metric="cosine")
    return model.fit(episode.supports, episode.labels).predict


PLAIN: dict[str, Callable[[Episode], Answers]] = {
    "logistic regression": logistic,
    "balanced logistic regression": lambda episode: logistic(episode, "balanced"),
    "linear SVM": machine,
    "prototypes": prototypes,
    "kNN": neighbours,
}


def plain_answers(episode: Episode, names: list[str] | None = None) -> dict[str, Ints]:
    """Answers to the queries by the classifiers' names; balancing changes nothing where labels are balanced."""
    found: dict[str, Ints] = {}
    for name in list(PLAIN) if names is None else names:
        same = (
            name == "balanced logistic regression" and episode.is_balanced and "logistic regression" in found
        )
        found[name] = found["logistic regression"] if same else PLAIN[name](episode)(episode.queries)
    return found
