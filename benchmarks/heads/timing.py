"""What fitting and answering cost, on simulated vectors."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from app.heads import Head, Priors, SupportSet, fit_head
from benchmarks.heads.measuring import Figures

SPREAD = 0.5
"""Noise of a vector beside its label's mean, both of unit length before they are added."""


def simulate(labels: int, each: int, dim: int) -> tuple[SupportSet, np.ndarray, np.ndarray]:
    """Supports, texts float32[labels, dim] and 64 queries float32[64, dim]."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(labels, dim)) / np.sqrt(dim)

    def images(of: np.ndarray) -> np.ndarray:
        vectors = means[of] + 2 * SPREAD * rng.normal(size=(len(of), dim)) / np.sqrt(dim)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    ids = np.repeat(np.arange(labels), each)
    supports = SupportSet(dim)
    supports.add(ids, images(ids))
    texts = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
    return supports, texts, images(rng.integers(labels, size=64))


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Of processor time, of all threads: the least of some calls, which other programs disturb least."""
    taken = []
    for _ in range(repeats):
        begun = time.process_time()
        call()
        taken.append(time.process_time() - begun)
    return min(taken)


def times(priors: Priors, dim: int) -> Figures:
    """Seconds of fits and of answering one image, by what is fitted."""

    def fit(labels: int, supports: SupportSet, texts: np.ndarray) -> Head:
        return fit_head([str(label) for label in range(labels)], texts, supports, list(range(labels)), priors)

    figures: Figures = {}
    for labels, each in ((10, 1), (10, 10), (100, 10), (100, 20), (100, 200), (1000, 1), (1000, 2)):
        supports, texts, queries = simulate(labels, each, dim)
        head = fit(labels, supports, texts)
        name = f"{labels} labels x {each}"
        figures[name] = {
            "kind": head.kind,
            "fit s": seconds(lambda: fit(labels, supports, texts), 3),  # noqa: B023  (called at once)
            "answer s": seconds(lambda: head.predict(queries[:1]), 30),  # noqa: B023
        }
    return figures
