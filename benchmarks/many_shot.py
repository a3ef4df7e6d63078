"""Four commands on a few thousand images: the time of each, and what fine-tuning gains over the closed-form head.

    python -m benchmarks.many_shot [--images 2400] [--base lite] [--epochs 3] [--param learning_rate=1e-4]

The images are scikit-learn's 1,797 handwritten digits and, for the rest, easy-VQA's training ones by colour and shape:
34 labels. Both learn from the same training split and are judged on the same test split, which neither has seen.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import easy_vqa
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from app.collections.texts import prompts
from app.families.encoders import load_encoder, resolve
from app.heads import SupportSet, fit_head, priors_of
from app.inference.sources import EncoderConfig
from app.settings import Settings

VISION = str(Path(sys.executable).parent / "vision")


def write_images(folder: Path, count: int) -> None:
    """A folder a label."""
    data = load_digits()
    for row, digit in enumerate(data.target[:count]):
        label = folder / f"digit {digit}"
        label.mkdir(parents=True, exist_ok=True)
        grey = Image.fromarray((255 - data.images[row] * 15.9).astype(np.uint8))
        grey.resize((96, 96), Image.Resampling.BICUBIC).convert("RGB").save(label / f"{row}.png")
    known: dict[int, dict[str, str]] = {}
    for question, answer, number in zip(*easy_vqa.get_train_questions(), strict=True):
        if answer not in ("yes", "no"):
            known.setdefault(number, {})["colour" if "color" in question else "shape"] = answer
    paths = easy_vqa.get_train_image_paths()
    rest = max(count - len(data.target), 0)
    for number in [number for number, facts in sorted(known.items()) if len(facts) == 2][:rest]:
        label = folder / f"{known[number]['colour']} {known[number]['shape']}"
        label.mkdir(parents=True, exist_ok=True)
        shutil.copy(paths[number], label / f"{number}.png")


def time_command(*words: str | Path) -> tuple[float, str]:
    """Seconds that a command takes, and what it prints."""
    began = time.perf_counter()
    done = subprocess.run([VISION, *map(str, words)], check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"vision {' '.join(map(str, words))} failed:\n{done.stderr}")
    return time.perf_counter() - began, done.stdout


def measure_closed_form(images: Path, manifest: Path, base: str) -> float:
    """Test accuracy of the head that a collection of the same training images would have."""
    encoder = load_encoder(resolve(base), EncoderConfig.from_settings(Settings()))
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    by_hash = {_read_stored(path): path for path in images.rglob("*.png")}
    labels = sorted({row["label"] for row in rows})
    vectors: dict[str, list[Any]] = {"train": [], "test": []}
    truths: dict[str, list[int]] = {"train": [], "test": []}
    for row in rows:
        side = row["split"]
        if side in vectors:
            with Image.open(by_hash[row["image"]]) as image:
                pixels = encoder.preprocess(image.convert("RGB"))
            vectors[side].append(encoder.encode_images(pixels[None])[0])
            truths[side].append(labels.index(row["label"]))
    supports = SupportSet(encoder.dim)
    supports.add(np.array(truths["train"]), np.stack(vectors["train"]))
    texts = np.stack([encoder.encode_texts(prompts(label)).mean(axis=0) for label in labels])
    head = fit_head(labels, texts, supports, list(range(len(labels))), priors_of(encoder))
    found = head.predict(np.stack(vectors["test"])).scores.argmax(axis=1)
    return float((found == np.array(truths["test"])).mean())


def _read_stored(path: Path) -> str:
    import hashlib

    from app.media.images import ImageLimits, normalise_for_storage

    return hashlib.sha256(normalise_for_storage(path.read_bytes(), ImageLimits()).bytes).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2400)
    parser.add_argument("--base", default="lite")
    parser.add_argument("--epochs", default="3")
    parser.add_argument("--param", action="append", default=[], help="name=value, of the training")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_images(root / "images", given.images)
        times = {}
        times["prepare-dataset"], _ = time_command(
            "manyshot", "prepare-dataset", "--data-dir", root / "images", "--output", root / "processed"
        )
        times["train"], _ = time_command(
            "manyshot", "train", "--dataset", root / "processed", "--model", given.base, "--epochs", given.epochs,
            "--output", root / "trained", *(word for param in given.param for word in ("--param", param)),
        )  # fmt: skip
        times["evaluate"], printed = time_command(
            "manyshot", "evaluate", "--model", root / "trained", "--test-data", root / "processed", "--json"
        )
        times["export"], _ = time_command(
            "manyshot",
            "export",
            "--model",
            root / "trained",
            "--format",
            "onnx",
            "--output",
            root / "exported",
        )
        figures = json.loads(printed)
        head = measure_closed_form(root / "images", root / "processed" / "manifest.jsonl", given.base)
    print(
        f"| command | seconds ({given.images} images, {given.base}, {given.epochs} epochs) |\n| --- | --- |"
    )
    for name, seconds in times.items():
        print(f"| `vision manyshot {name}` | {seconds:.0f} |")
    print(f"\n| on {figures['examples']} untouched test images | accuracy |\n| --- | --- |")
    print(f"| closed-form head on the same training split | {head:.3f} |")
    print(f"| fine-tuned | {figures['accuracy']:.3f} |")
    print(f"| always the commonest label / chance | {figures['commonest']:.3f} / {figures['chance']:.3f} |")


if __name__ == "__main__":
    main()
