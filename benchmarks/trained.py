"""What training is worth beside the closed-form head: jobs with their defaults, over `lite`, on sets that judge.

    nice -n 10 python -m benchmarks.trained [--sets chess-judge digits-1] [--shots 10 0] [--seeds 2] [--method finetune]

Everything learns from the same images and is asked about the same others. Beside a job's accuracy stand guessing, the
nearest prototype and logistic regression on the same features, and the head that a collection of these images has.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from app.families.encoders import load_encoder, resolve
from app.heads import SupportSet, fit_head, priors_of
from app.inference.protocols import Encoder
from app.inference.sources import EncoderConfig
from app.models.classifiers import TrainedClassifier
from app.settings import Settings
from benchmarks.fewshot import Shown, features
from benchmarks.image_sets import DIGITS, text_vectors
from benchmarks.image_sets.catalogue import JUDGING
from tests.training import pick_examples, train_model
from workers.methods.common.choosing import plain_accuracies

MAX_ASKED = 200
"""Images that are asked about, half of each label's at most."""
COLUMNS = (
    *("images", "shots", "taught", "guessing", "prototypes", "logistic regression", "head", "trained"),
    *("difference", "what was published", "CPU minutes"),
)


@dataclass(frozen=True)
class Row:
    """One training, in shares of what was asked."""

    taught: int
    chance: float
    prototypes: float
    logistic_regression: float
    head: float
    trained: float
    published: str
    minutes: float


def digits() -> Iterable[tuple[Image.Image, int]]:
    """The second half of scikit-learn's handwritten digits, 90 of each at most."""
    data = load_digits()
    for digit in range(10):
        rows = np.flatnonzero(data.target == digit)
        for row in rows[len(rows) // 2 :]:
            grey = Image.fromarray((255 - data.images[row] * 15.9).astype(np.uint8))
            yield grey.resize((96, 96), Image.Resampling.BICUBIC).convert("RGB"), digit


def images_of(name: str) -> list[Shown]:
    """All images of a set that judges; raises ValueError for another name."""
    known = {definition.name: definition for definition in JUDGING}
    if name == "digits-1":
        classes, found = tuple(f"handwritten digit {word}" for word in DIGITS), digits()
    elif name in known:
        classes, found = known[name].classes, known[name].images()
    else:
        raise ValueError(f"no set is called {name}; there are digits-1, {', '.join(known)}")
    shown = []
    for number, (image, label) in enumerate(found):
        sink = io.BytesIO()
        image.save(sink, "PNG")
        shown.append((f"{number:06d}", sink.getvalue(), classes[label]))
    return shown


def divide(shown: list[Shown], shots: int, seed: int) -> tuple[list[Shown], list[Shown]]:
    """So many of each label to learn from, all there are where it is 0, and others to ask about."""
    order = [shown[row] for row in np.random.default_rng([seed, 7]).permutation(len(shown))]
    counts = Counter(label for *_, label in shown)
    taken: Counter[str] = Counter()
    asked, left = [], []
    for image in order:
        if len(asked) < MAX_ASKED and taken[image[2]] < counts[image[2]] // 2:
            taken[image[2]] += 1
            asked.append(image)
        else:
            left.append(image)
    kept: Counter[str] = Counter()
    taught = []
    for image in left:
        if not shots or kept[image[2]] < shots:
            kept[image[2]] += 1
            taught.append(image)
    return taught, asked


def by_closed_form(encoder: Encoder, taught: list[Shown], asked: list[Shown]) -> dict[str, float]:
    """What needs no training, on the encoder's features."""
    labels = sorted({label for *_, label in taught})
    y, truth = (np.array([labels.index(label) for *_, label in side], np.int64) for side in (taught, asked))
    known, seen = features(encoder, taught), features(encoder, asked)
    supports = SupportSet(encoder.dim)
    supports.add(y, known)
    texts = text_vectors(encoder, labels)
    head = fit_head(labels, texts, supports, list(range(len(labels))), priors_of(encoder))
    right = float((head.predict(seen).scores.argmax(axis=1) == truth).mean())
    return {"head": right, "chance": 1 / len(labels), **plain_accuracies(known, y, seen, truth)}


def by_a_job(
    method: str,
    params: dict[str, Any],
    taught: list[Shown],
    asked: list[Shown],
    seed: int,
    settings: Settings,
) -> tuple[float, str, float]:
    """Accuracy, what was published, and minutes of CPU of the whole job."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        made = train_model(
            pick_examples(taught),
            method,
            Path(folder),
            base="lite",
            params=params,
            seed=seed,
            settings=settings,
        )
        minutes = (time.process_time() - begun) / 60
        classifier = TrainedClassifier.load(made.folder)
        word = str(made.folder) if classifier.adapted else "lite"
        encoder = load_encoder(resolve(word), EncoderConfig.from_settings(settings))
        best = classifier.predict(features(encoder, asked)).scores.argmax(axis=1)
    right = np.mean(
        [classifier.labels[index] == label for index, (*_, label) in zip(best, asked, strict=True)]
    )
    return float(right), made.evaluation["published"], minutes


def measure(
    name: str,
    shown: list[Shown],
    shots: int,
    seed: int,
    method: str,
    params: dict[str, Any],
    settings: Settings,
) -> Row:
    """One set, one draw, one training."""
    taught, asked = divide(shown, shots, seed)
    encoder = load_encoder(resolve("lite"), EncoderConfig.from_settings(settings))
    plain = by_closed_form(encoder, taught, asked)
    right, published, minutes = by_a_job(method, params, taught, asked, seed, settings)
    return Row(taught=len(taught), trained=right, published=published, minutes=minutes, **plain)


def line(name: str, shots: int, rows: list[Row]) -> str:
    """Means over the draws, in %."""

    def mean(field: str) -> str:
        return f"{100 * np.mean([getattr(row, field) for row in rows]):.1f}"

    apart = [100 * (row.trained - row.head) for row in rows]
    chosen = Counter(row.published for row in rows)
    cells = [
        name,
        str(shots) if shots else "all",
        f"{np.mean([row.taught for row in rows]):.0f}",
        *(mean(field) for field in ("chance", "prototypes", "logistic_regression", "head", "trained")),
        " ".join(f"{difference:+.1f}" for difference in apart),
        ", ".join(f"{word.replace('_', ' ')} {count}" for word, count in chosen.items()),
        f"{np.mean([row.minutes for row in rows]):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--sets", nargs="+", default=["digits-1", "chess-judge", "crack-judge", "icons-judge"]
    )
    parser.add_argument("--shots", type=int, nargs="+", default=[10, 0], help="0: everything")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--method", default="finetune", choices=["finetune", "lora"])
    given = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), device="cpu")
        for name in given.sets:
            shown = images_of(name)
            for shots in given.shots:
                rows = [
                    measure(name, shown, shots, seed, given.method, {}, settings)
                    for seed in range(given.seeds)
                ]
                print(line(name, shots, rows), flush=True)


if __name__ == "__main__":
    main()
