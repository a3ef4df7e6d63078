"""An encoder, and a classifier on it, as ONNX graphs with a runner, handed out only where they compute what the
model does.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from app.families import FAMILIES
from app.families.changed import read_adapted_note
from app.families.encoders import load_encoder, resolve
from app.heads import Prediction
from app.inference.aspect import bound_aspect
from app.inference.family import ImageTower
from app.inference.protocols import Pixels, TextEncoder, Vectors, min_decoded_side
from app.inference.runtimes import parity
from app.inference.sources import EncoderConfig
from app.models.classifiers import TrainedClassifier
from app.settings import Settings
from workers.exporting import onnx_files
from workers.exporting.classifier_module import ClassifierModule
from workers.exporting.modules import ImageSide
from workers.shared.data import GONE, load_examples
from workers.shared.metrics import NOT_JUDGED
from workers.shared.model_files import ModelFiles, base_word
from workers.shared.run import JobRun
from workers.shared.towers import image_tower

_IMAGES, _MADE_UP = 200, 32
_SENTENCES = ("a photo of a cat", "red", "a large dog on the beach at sunset", "SKU-123")
RUNNER = Path(__file__).with_name("predict.py")
_TRIED = 12
"""Images that the runner is tried on."""
_RUNNER_SECONDS = 300
MAX_SCORE_DIFFERENCE = 0.01
"""Of the runner's best score to the model's in float32."""
TEXTS_LEFT_OUT = (
    "text_encoder.onnx is left out, since images do not need it: ask for it with `text_encoder: true`."
)
_SCORES = (
    "`scores` are probabilities of the labels, in the order of `labels`: a softmax over the labels, times the "
    "probability that the image shows any of them at all. With `none`, the probability that it shows none of them, "
    "they add up to 1. The temperature of the softmax {fitted}."
)


def write(run: JobRun, found: ModelFiles, folder: Path) -> dict[str, Any]:
    """The graphs, the runner and a report of what they are and how near they come to the model.

    Raises NotTrainableError where a graph does not compute what the model does, ModelTaskError for a family that
    cannot be written so.
    """
    tower = load_served_tower(found, run.settings)
    encoder = load_encoder(resolve(found.word), EncoderConfig.from_settings(run.settings))
    images, own = _parity_images(run, found)
    prepared: Pixels = np.stack([encoder.preprocess(bound_aspect(image)) for image in images])
    served = np.concatenate([encoder.encode_images(prepared[i : i + 8]) for i in range(0, len(prepared), 8)])
    pixels: Pixels = np.stack([tower.preprocess(bound_aspect(image)) for image in images])
    side = ImageSide(tower).eval().requires_grad_(False)
    exact = _in_float32(side, pixels)
    gate = _Gate(folder, run.settings.models.parity_cosine)
    # the service may run an optimised encoder: its distance is reported, and bound by a limit of its own
    service = onnx_files.agreement(exact, served)
    service.check("the service", cosine=gate.cosine, top1=0.0)
    with_texts = isinstance(encoder, TextEncoder) and bool(run.spec.params.get("text_encoder"))
    report: dict[str, Any] = {
        "graph": "image_encoder.onnx",
        "images": len(images),
        "trained_on": own,
        "service": asdict(service),
        "preprocessing": _steps(tower, encoder.input_size, min_decoded_side(encoder)),
        "left_out": {},
    }
    gate.write(side, {"pixels": pixels}, "image_encoder.onnx", ["features"], exact, gallery=exact)
    run.step(1, 3)
    if isinstance(encoder, TextEncoder) and with_texts:
        _texts(encoder, tower, gate)
    elif isinstance(encoder, TextEncoder):
        report["left_out"]["text_encoder.onnx"] = TEXTS_LEFT_OUT
    run.step(2, 3)
    expected = exact
    if found.folder is not None:
        classifier = TrainedClassifier.load(found.folder)
        expected = _shares(classifier.predict(exact))
        module = ClassifierModule(side, classifier).eval().requires_grad_(False)
        _heads_agree(module, classifier, "classifier.onnx", gate.cosine)
        gate.write(module, {"pixels": pixels}, "classifier.onnx", ["scores", "none"], expected)
        report |= {
            "graph": "classifier.onnx",
            "service": asdict(onnx_files.agreement(expected, _shares(classifier.predict(served)))),
            "labels": classifier.labels,
            "threshold": classifier.threshold,
            "scores": _SCORES.format(fitted=_describe_temperature(found)),
        }
    report |= {"files": gate.files, "tensors": gate.tensors}
    (folder / "preprocessing.json").write_text(json.dumps(report["preprocessing"], indent=2) + "\n")
    _add_runner(run, folder, report, images[:_TRIED], expected[:_TRIED])
    for sentence in report["left_out"].values():
        run.log(sentence)
    run.step(3, 3)
    return report


def _steps(tower: ImageTower, input_size: int, decoded_side: int | None) -> dict[str, Any]:
    """What becomes of an image, for the runner; empty where the family does not tell it."""
    steps = dict(tower.preprocessing)
    if not steps:
        return {}
    size = [steps.pop("width", None), steps.pop("height", None)]
    return {"input_size": input_size, "min_decoded_side": decoded_side, "box": 0, **steps, "size": size}


class _Gate:
    """Writes graphs and holds each against the model; what passed, by file."""

    def __init__(self, folder: Path, cosine: float) -> None:
        self.folder, self.cosine = folder, cosine
        self.files: dict[str, Any] = {}
        self.tensors: dict[str, Any] = {}

    def write(
        self,
        module: nn.Module,
        inputs: onnx_files.Arrays,
        name: str,
        outputs: Sequence[str],
        reference: Any,
        *,
        gallery: Any = None,
        axes: Sequence[str] = ("images",),
    ) -> None:
        """Raises NotTrainableError for a graph that is not exact enough, or that minds what else is in the batch."""
        file = self.folder / name
        two = {key: array[:2] for key, array in inputs.items()}
        onnx_files.export(module, two, file, outputs, dynamic={key: dict(enumerate(axes)) for key in inputs})
        onnx_files.takes_any_batch(file, inputs)
        found = onnx_files.agreement(
            reference, np.column_stack(onnx_files.run(file, inputs)), gallery=gallery
        )
        found.check(name, cosine=self.cosine, top1=onnx_files.TOP1)
        self.files[name] = asdict(found)
        self.tensors[name] = onnx_files.describe(onnx_files.open_graph(file))


def _texts(encoder: TextEncoder, tower: ImageTower, gate: _Gate) -> None:
    """The text side's graph and its tokenizer."""
    text = FAMILIES.get(tower.family).text_side(tower)
    words = encoder.encode_texts(_SENTENCES)
    module, tokens = text.module.requires_grad_(False), text.tokenize(_SENTENCES)
    gate.write(
        module, tokens, "text_encoder.onnx", ["features"], words, gallery=words, axes=("texts", "tokens")
    )
    text.tokenizer.save_pretrained(gate.folder / "tokenizer")


def _describe_temperature(found: ModelFiles) -> str:
    """Where the temperature comes from, completing a sentence."""
    figures = {} if found.card is None else found.card.metrics
    if str(figures.get("evaluated_on")) == NOT_JUDGED or "calibration_error" not in figures:
        return "is the usual one, not calibrated, since no examples were held out"
    return (
        "was fitted on held-out examples (temperature scaling); the expected calibration error on the "
        f"{figures['evaluated_on']} examples is {figures['calibration_error']:.3f}"
    )


def _add_runner(
    run: JobRun, folder: Path, report: dict[str, Any], images: Sequence[Image.Image], expected: Vectors
) -> None:
    """Put `predict.py` beside the graphs, where it answers as they do; else the report says why it is left out."""
    (folder / "export.json").write_text(json.dumps(report))
    shutil.copy(RUNNER, folder / RUNNER.name)
    place = run.scratch / "runner"
    place.mkdir(exist_ok=True)
    paths = [place / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        image.save(path, compress_level=1)
    rows, reason = _rows_of_runner(folder / RUNNER.name, paths)
    if reason or len(rows) != len(paths):
        reason = reason or f"it answers for {len(rows)} of {len(paths)} images"
    elif "labels" in report:
        difference = max(
            abs(float(row[-1]) - float(best[:-1].max())) for row, best in zip(rows, expected, strict=True)
        )
        reason = "" if difference <= MAX_SCORE_DIFFERENCE else f"its scores are up to {difference:.2g} off"
        report["runner"] = {"images": len(rows), "max_score_difference": difference}
    else:
        found = onnx_files.agreement(expected, np.array(rows, np.float32))
        near = found.least_cosine >= run.settings.models.parity_cosine
        reason = "" if near else f"its vectors have a cosine of {found.least_cosine:.3f} to the model's"
        report["runner"] = {"images": len(rows), "least_cosine": found.least_cosine}
    if reason:
        (folder / RUNNER.name).unlink()
        report.pop("runner", None)
        report["left_out"][RUNNER.name] = (
            f"{RUNNER.name} is left out, since it does not prepare images as this model does ({reason})."
        )


def _rows_of_runner(runner: Path, images: Sequence[Path]) -> tuple[list[list[str]], str]:
    """What it prints of each image, in fields, or why it printed nothing that counts."""
    command = [sys.executable, "-I", str(runner), *map(str, images)]
    try:
        # no key or address of the service is its business
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_RUNNER_SECONDS, check=False, env={}
        )
    except subprocess.TimeoutExpired:
        return [], f"it takes more than {_RUNNER_SECONDS} s"
    if done.returncode:
        return [], (done.stderr.strip().splitlines() or ["it says nothing"])[-1][:200]
    return [line.split("\t")[1:] for line in done.stdout.split("\n") if line], ""


def load_served_tower(found: ModelFiles, settings: Settings) -> ImageTower:
    """The image tower with a trained model's changes in it."""
    base = found.word if found.card is None else base_word(found.card, settings)
    tower = image_tower(base, settings)
    note = None if found.folder is None else read_adapted_note(found.folder)
    if note is not None and found.folder is not None:
        FAMILIES.get(tower.family).apply_changes(tower, str(note["adapted"]), found.folder)
    tower.module.eval()
    return tower


def _heads_agree(module: ClassifierModule, classifier: TrainedClassifier, name: str, limit: float) -> None:
    """Raise NotTrainableError unless the head gives its own examples the same labels.

    The images at hand may all show something else, and then say little of the labels.
    """
    known = classifier.weights.exemplars
    found = module.judge(torch.from_numpy(np.ascontiguousarray(known, np.float32)))
    ours = np.column_stack([tensor.numpy() for tensor in found])
    result = onnx_files.agreement(_shares(classifier.predict(known)), ours)
    result.check(name, cosine=limit, top1=onnx_files.TOP1)


def _shares(found: Prediction) -> Vectors:
    """float32[n, C + 1] that add up to 1: the scores, then the share for none of the labels. Of something unlike all
    labels only that share tells anything.
    """
    return np.column_stack([found.scores, found.none])


def _in_float32(side: ImageSide, pixels: Pixels) -> Vectors:
    """float32[n, d] by torch itself."""
    with torch.no_grad():
        parts = [side(torch.from_numpy(pixels[i : i + 8])) for i in range(0, len(pixels), 8)]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def _parity_images(run: JobRun, found: ModelFiles) -> tuple[Sequence[Image.Image], bool]:
    """Images that the model was made for, where they are still there; made-up ones (and False) otherwise."""
    if run.spec.data is not None and run.spec.task is not None and found.card is not None:
        try:
            examples = load_examples(run)
            step = max(len(examples.items) // _IMAGES, 1)
            return [examples.image(item) for item in examples.items[::step][:_IMAGES]], True
        except GONE:
            run.log("The data it was trained on is gone: compared on made-up images.")
    return parity.images(_MADE_UP), False
