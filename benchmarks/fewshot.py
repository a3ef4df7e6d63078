"""What each training method is worth over the closed-form head that a collection has anyway, at few examples a label.

Knows two image sets from installed packages, digits and coloured shapes; every method learns from the same images
and is asked about the same others, which none of them saw.

    nice -n 10 python -m benchmarks.fewshot [--seeds 3] [--sets digits] [--shots 5 10] [--methods lora] [--markdown]
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import easy_vqa
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.families.encoders import load_encoder, resolve
from app.heads import Prediction, SupportSet, fit_head, priors_of
from app.inference.protocols import Encoder
from app.inference.sources import EncoderConfig
from app.models.classifiers import TrainedClassifier
from app.settings import Settings
from benchmarks.image_sets import DIGITS, SHAPES, text_vectors
from tests.training import pick_examples, train_model

COLOURS = ("blue", "green", "red", "yellow")
ASKED = 20
"""Images a label that are asked about."""
KNOWN = 40
"""Images a label that examples are drawn from."""
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "head": ("head", {}),
    "prototypical": ("prototypical", {}),
    "maml (ANIL)": ("maml", {}),
    "maml (full)": ("maml", {"algorithm": "maml"}),
    "siamese (triplet)": ("siamese", {}),
    "siamese (pairs)": ("siamese", {"loss": "contrastive"}),
    "siamese, none held out": ("siamese", {"validation_share": 0}),
    "prototypical, end to end": ("prototypical", {"end_to_end": True, "steps": 40}),
    "lora": ("lora", {}),
}
COLLECTION = "collection"
"""The head of a collection: no job, nothing published."""
Shown = tuple[str, bytes, str]
"""Name, image file, label."""


@dataclass(frozen=True)
class Pictures:
    """Images to draw examples from, and others to ask about."""

    name: str
    known: list[Shown]
    asked: list[Shown]

    def draw(self, shots: int, seed: int) -> list[Shown]:
        """So many of each label."""
        rng = np.random.default_rng([seed, shots])
        labels = sorted({label for _, _, label in self.known})
        own = {label: [row for row in self.known if row[2] == label] for label in labels}
        return [own[label][row] for label in labels for row in rng.permutation(len(own[label]))[:shots]]


class Result(NamedTuple):
    """A share between 0 and 1; the mean share given to none of the labels; seconds."""

    accuracy: float
    none: float
    seconds: float


def digits() -> Pictures:
    """scikit-learn's handwritten digits (8 x 8 pixels), enlarged: examples from one half, questions from the other."""
    data = load_digits()
    sides: tuple[list[Shown], list[Shown]] = ([], [])
    for digit, word in enumerate(DIGITS):
        rows = np.flatnonzero(data.target == digit)
        middle = len(rows) // 2
        for side, own in zip(sides, (rows[:middle][:KNOWN], rows[middle:][:ASKED]), strict=True):
            for row in own:
                grey = Image.fromarray((255 - data.images[row] * 15.9).astype(np.uint8))
                sink = io.BytesIO()
                grey.resize((96, 96), Image.Resampling.BICUBIC).convert("RGB").save(sink, "PNG")
                side.append((f"{row:06d}", sink.getvalue(), f"handwritten digit {word}"))
    return Pictures("digits", *sides)


def shapes() -> Pictures:
    """easy-VQA's shapes (64 x 64 pixels), a label for each of four colours and three shapes; its own split."""
    known = _shapes(easy_vqa.get_train_questions(), easy_vqa.get_train_image_paths(), KNOWN)
    asked = _shapes(easy_vqa.get_test_questions(), easy_vqa.get_test_image_paths(), ASKED)
    return Pictures("shapes", list(known), list(asked))


def _shapes(questions: Any, paths: dict[int, str], most: int) -> Iterator[Shown]:
    said: dict[int, dict[str, str]] = {}
    for _question, answer, image in zip(*questions, strict=True):
        for kind, words in (("colour", COLOURS), ("shape", SHAPES)):
            if answer in words:
                said.setdefault(image, {})[kind] = answer
    taken: dict[str, int] = {}
    for image, words in sorted(said.items()):
        label = f"{words.get('colour')} {words.get('shape')}"
        taken[label] = taken.get(label, 0) + 1
        if len(words) == 2 and taken[label] <= most:
            yield f"{image:06d}", Path(paths[image]).read_bytes(), label


def features(encoder: Encoder, images: list[Shown]) -> NDArray[np.float32]:
    """float32[n, d]"""
    opened = [Image.open(io.BytesIO(data)).convert("RGB") for _, data, _ in images]
    pixels = [encoder.preprocess(image) for image in opened]
    parts = [encoder.encode_images(np.stack(pixels[start : start + 8])) for start in range(0, len(pixels), 8)]
    return np.concatenate(parts)


def accuracy(found: Prediction, labels: list[str], asked: list[Shown]) -> tuple[float, float]:
    """Of the best label, and the mean share for none."""
    best = [labels[index] for index in found.scores.argmax(axis=1)]
    right = np.mean([label == row[2] for label, row in zip(best, asked, strict=True)])
    return float(right), float(found.none.mean())


def in_a_collection(
    encoder: Encoder, shown: list[Shown], asked: list[Shown], seen: NDArray[np.float32]
) -> Result:
    """Examples encoded and the head fitted, as the service does for a collection."""
    labels = sorted({label for _, _, label in shown})
    begun = time.perf_counter()
    supports = SupportSet(encoder.dim)
    owners = np.array([labels.index(label) for _, _, label in shown], np.int64)
    supports.add(owners, features(encoder, shown))
    head = fit_head(
        labels, text_vectors(encoder, labels), supports, list(range(len(labels))), priors_of(encoder)
    )
    seconds = time.perf_counter() - begun
    return Result(*accuracy(head.predict(seen), labels, asked), seconds)


def by_a_job(
    variant: str,
    shown: list[Shown],
    asked: list[Shown],
    seen: NDArray[np.float32],
    seed: int,
    settings: Settings,
) -> Result:
    """Trained with the method's defaults; the time is that of the job's process, once the base is loaded."""
    method, params = VARIANTS[variant]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        made = train_model(
            pick_examples(shown), method, Path(folder), params=params, seed=seed, settings=settings
        )
        seconds = time.perf_counter() - begun
        classifier = TrainedClassifier.load(made.folder)
        if classifier.adapted:
            encoder = load_encoder(resolve(str(made.folder)), EncoderConfig.from_settings(settings))
            seen = features(encoder, asked)
        return Result(*accuracy(classifier.predict(seen), classifier.labels, asked), seconds)


def rows(
    sets: list[Pictures], shots: list[int], variants: list[str], seeds: int, settings: Settings
) -> Iterator[tuple[str, ...]]:
    """A line for each set, number of shots and method, as they are measured."""
    encoder = load_encoder(resolve("lite"), EncoderConfig.from_settings(settings))
    for image_set in sets:
        seen = features(encoder, image_set.asked)
        for count in shots:
            for variant in (COLLECTION, *variants):
                results = []
                for seed in range(seeds):
                    shown = image_set.draw(count, seed)
                    results.append(
                        in_a_collection(encoder, shown, image_set.asked, seen)
                        if variant == COLLECTION
                        else by_a_job(variant, shown, image_set.asked, seen, seed, settings)
                    )
                table = np.array(results)
                right, none, seconds = table.mean(axis=0)
                spread = table[:, 0].std()
                yield (
                    image_set.name,
                    str(count),
                    variant,
                    f"{100 * right:.1f} ± {100 * spread:.1f}",
                    f"{none:.2f}",
                    f"{seconds:.1f}",
                )


COLUMNS = ("images", "shots", "method", "accuracy %", "share for none", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--sets", nargs="+", default=["digits", "shapes"], choices=["digits", "shapes"])
    parser.add_argument("--methods", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--markdown", action="store_true", help="print a table for docs/training.md")
    arguments = parser.parse_args()
    sets = [image_set for image_set in (digits(), shapes()) if image_set.name in arguments.sets]
    chance = ", ".join(
        f"{image_set.name} {100 / len({row[2] for row in image_set.asked}):.0f}%" for image_set in sets
    )
    with tempfile.TemporaryDirectory() as folder:
        found = rows(
            sets, arguments.shots, arguments.methods, arguments.seeds, Settings(data_dir=Path(folder))
        )
        if arguments.markdown:
            print(f"chance: {chance}\n\n| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}", flush=True)
            for row in found:
                print(f"| {' | '.join(row)} |", flush=True)
            return
        table = Table(*COLUMNS, title=f"lite, {arguments.seeds} seeds; chance: {chance}")
        for row in found:
            table.add_row(*row)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
