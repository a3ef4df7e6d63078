"""How well and how surely each head classifies after 1, 2, 5 and 10 examples a label, on real images from wheels.

Knows image sets and heads; embeddings are kept in the temporary folder, so that a second run takes seconds.

    python -m benchmarks.heads [--encoder lite] [--seeds 20] [--markdown]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.heads import Head, Priors, SupportSet, fit_head, priors_of, zero_shot_head
from benchmarks import image_sets
from benchmarks.image_sets import ImageSet
from benchmarks.scores import auroc, expected_calibration_error

SHOTS = (1, 2, 5, 10)
SCALE = 20.0
"""Logits a cosine is worth in the two baselines, which have no calibration of their own."""
Doubles = NDArray[np.float64]
Classifier = Callable[[NDArray[np.float32]], Doubles]
"""float32[m, d] -> float64[m, C] scores, at most 1 in a row."""


class Episode(NamedTuple):
    """Supports and queries of some classes, and images of classes that were held out."""

    supports: NDArray[np.float32]
    labels: NDArray[np.int64]
    queries: NDArray[np.float32]
    answers: NDArray[np.int64]
    texts: NDArray[np.float32]
    near: NDArray[np.float32]
    far: NDArray[np.float32]


class Result(NamedTuple):
    """Shares between 0 and 1, and milliseconds."""

    accuracy: float
    calibration_error: float
    near_auroc: float
    far_auroc: float
    accepted: float
    rejected_near: float
    rejected_far: float
    fit_ms: float


def draw(one: ImageSet, far: NDArray[np.float32], shots: int, rng: np.random.Generator) -> Episode:
    """Two thirds of the classes are taught, the rest is unknown; at most 10 queries a class."""
    classes = rng.permutation(len(one.classes))
    inside = classes[: max(2, round(len(classes) * 2 / 3))]
    supports, queries, answers = [], [], []
    for position, label in enumerate(inside):
        rows = rng.permutation(np.flatnonzero(one.labels == label))
        taught = min(shots, len(rows) - 4)
        supports.append((one.vectors[rows[:taught]], np.full(taught, position)))
        queries.append(one.vectors[rows[taught : taught + 10]])
        answers.append(np.full(len(queries[-1]), position))
    near = np.flatnonzero(~np.isin(one.labels, inside))
    return Episode(
        np.concatenate([vectors for vectors, _ in supports]),
        np.concatenate([labels for _, labels in supports]),
        np.concatenate(queries),
        np.concatenate(answers),
        one.texts[inside],
        one.vectors[rng.permutation(near)[:60]],
        far[rng.permutation(len(far))[:60]],
    )


def softmax(logits: Doubles) -> Doubles:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def nearest_example(one: Episode, priors: Priors, *, text: bool) -> Classifier:
    def classify(features: NDArray[np.float32]) -> Doubles:
        cosines = features @ one.supports.T
        best = [cosines[:, one.labels == label].max(axis=1) for label in range(len(one.texts))]
        return softmax(SCALE * np.stack(best, axis=1) + text * priors.temperature * features @ one.texts.T)

    return classify


def nearest_prototype(one: Episode, priors: Priors, *, text: bool) -> Classifier:
    means = np.stack([one.supports[one.labels == label].mean(axis=0) for label in range(len(one.texts))])
    means /= np.linalg.norm(means, axis=1, keepdims=True)

    def classify(features: NDArray[np.float32]) -> Doubles:
        return softmax(SCALE * features @ means.T + text * priors.temperature * features @ one.texts.T)

    return classify


def fitted(one: Episode, priors: Priors, kind: str | None, *, text: bool) -> Head:
    names = [str(label) for label in range(len(one.texts))]
    supports = SupportSet(one.supports.shape[1])
    supports.add(one.labels, one.supports)
    texts = one.texts if text else None
    return fit_head(names, texts, supports, list(range(len(names))), priors, kind=kind)


def judge(classify: Classifier, threshold: float, one: Episode, fit_ms: float) -> Result:
    """Calibration is judged where half of the images show a label, a quarter a held-out class, a quarter else."""
    known, near, far = classify(one.queries), classify(one.near), classify(one.far)
    right = (known.argmax(axis=1) == one.answers).astype(np.float64)
    best, best_near, best_far = (scores.max(axis=1) for scores in (known, near, far))
    half = len(best) // 2
    confidence = np.concatenate([best, np.resize(best_near, half), np.resize(best_far, half)])
    correct = np.concatenate([right, np.zeros(2 * half)])
    return Result(
        float(right.mean()),
        expected_calibration_error(confidence, correct),
        auroc(best, best_near),
        auroc(best, best_far),
        float((best >= threshold).mean()),
        float((best_near < threshold).mean()),
        float((best_far < threshold).mean()),
        fit_ms,
    )


def methods() -> dict[str, Callable[[Episode, Priors], tuple[Classifier, float]]]:
    """Name -> what fits it; the second value is the threshold below which to reject."""

    def head(kind: str | None, *, text: bool) -> Callable[[Episode, Priors], tuple[Classifier, float]]:
        def fit(one: Episode, priors: Priors) -> tuple[Classifier, float]:
            made = fitted(one, priors, kind, text=text)
            return (lambda features: made.predict(features).scores.astype(np.float64)), made.threshold

        return fit

    def zero_shot(one: Episode, priors: Priors) -> tuple[Classifier, float]:
        made = zero_shot_head([""] * len(one.texts), one.texts, priors)
        return (lambda features: made.predict(features).scores.astype(np.float64)), made.threshold

    return {
        "text only (zero-shot)": zero_shot,
        "nearest example": lambda one, priors: (nearest_example(one, priors, text=False), 0.5),
        "nearest example + text": lambda one, priors: (nearest_example(one, priors, text=True), 0.5),
        "nearest prototype": lambda one, priors: (nearest_prototype(one, priors, text=False), 0.5),
        "nearest prototype + text": lambda one, priors: (nearest_prototype(one, priors, text=True), 0.5),
        "GDA": head("gda", text=False),
        "GDA + text": head("gda", text=True),
        "ProKeR": head("proker", text=False),
        "ProKeR + text": head("proker", text=True),
        "default": head(None, text=True),
    }


def measure(sets: list[ImageSet], priors: Priors, seeds: int) -> dict[tuple[str, int, str], list[Result]]:
    """Results by (set, shots, method), a result a seed; every method sees the same episodes."""
    results: dict[tuple[str, int, str], list[Result]] = {}
    for one in sets:
        far = np.concatenate([other.vectors for other in sets if other is not one])
        for shots in SHOTS:
            for seed in range(seeds):
                episode = draw(one, far, shots, np.random.default_rng([seed, shots]))
                for name, fit in methods().items():
                    begun = time.perf_counter()
                    classify, threshold = fit(episode, priors)
                    fit_ms = 1e3 * (time.perf_counter() - begun)
                    result = judge(classify, threshold, episode, fit_ms)
                    results.setdefault((one.name, shots, name), []).append(result)
    return results


COLUMNS = (
    "images",
    "shots",
    "head",
    "accuracy %",
    "ECE %",
    "AUROC near/far",
    "accepted / refused near / far %",
    "fit ms",
)


def rows(results: dict[tuple[str, int, str], list[Result]]) -> list[tuple[str, ...]]:
    written = []
    for (name, shots, method), found in results.items():
        table = np.array(found)
        mean, deviation = table.mean(axis=0), table.std(axis=0)
        written.append(
            (
                name,
                str(shots),
                method,
                f"{100 * mean[0]:.1f} ± {100 * deviation[0]:.1f}",
                f"{100 * mean[1]:.1f}",
                f"{mean[2]:.3f} / {mean[3]:.3f}",
                f"{100 * mean[4]:.0f} / {100 * mean[5]:.0f} / {100 * mean[6]:.0f}",
                f"{np.median(table[:, 7]):.1f}",
            )
        )
    return written


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--encoder", default="lite")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--markdown", action="store_true", help="print a table for docs/learning.md")
    arguments = parser.parse_args()
    model = image_sets.encoder(arguments.encoder)
    sets = [
        image_sets.photos(model, image_sets.SHOWN, "photos"),
        image_sets.shapes(model, split="test"),
        image_sets.digits(model, half=1),
    ]
    chance = {one.name: 100 / max(2, round(len(one.classes) * 2 / 3)) for one in sets}
    written = rows(measure(sets, priors_of(model), arguments.seeds))
    heading = ", ".join(f"{name} {share:.0f}%" for name, share in chance.items())
    if arguments.markdown:
        print(f"{arguments.encoder}; chance: {heading}\n\n| {' | '.join(COLUMNS)} |")
        print("|" + " --- |" * len(COLUMNS))
        for row in written:
            print(f"| {' | '.join(row)} |")
        return
    table = Table(*COLUMNS, title=f"{arguments.encoder}, {arguments.seeds} seeds; chance: {heading}")
    for row in written:
        table.add_row(*row)
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
