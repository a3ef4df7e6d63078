"""An export job: a model as ONNX graphs that passed the parity gate, or as merged safetensors, with its card.

Knows which parts a model has and what is published; graphs are written by `onnx_files`, weights by `weights`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from app.families import FAMILIES
from app.families.changed import adapted_note
from app.families.encoders import load_encoder, resolve
from app.heads import Prediction
from app.inference.family import ImageTower
from app.inference.protocols import Pixels, TextEncoder, Vectors
from app.inference.runtimes import parity
from app.inference.sources import EncoderConfig
from app.jobs.spec import Outcome
from app.models.classifiers import TrainedClassifier
from app.settings import Settings
from workers.exporting import cards, onnx_files, vlm_export, weights
from workers.exporting.classifier_module import ClassifierModule
from workers.exporting.modules import ImageSide
from workers.shared.data import load_examples
from workers.shared.model_files import ModelFiles, model_files
from workers.shared.run import JobRun
from workers.shared.towers import image_tower

_IMAGES, _MADE_UP = 200, 32
_SENTENCES = ("a photo of a cat", "red", "a large dog on the beach at sunset", "SKU-123")


def export(run: JobRun) -> Outcome:
    """The files, published among the model's artefacts below `exports/<format>/`.

    Raises NotTrainableError where a graph does not compute what the model does, ModelTaskError for a family that
    cannot be written so.
    """
    found = model_files(run)
    format_ = str(run.spec.params["format"])
    folder = run.scratch / "export"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if format_ == "safetensors":
        report: dict[str, Any] = weights.write(found, folder, run.settings)
    elif run.spec.base_kind == "vlm":
        report = vlm_export.write(run, found, folder)
    else:
        report = _onnx(run, found, folder)
    cards.write(folder, found, run.spec.model or "", report)
    (folder / "export.json").write_text(json.dumps(report, indent=2) + "\n")
    run.phase("saving")
    kept = run.publish(folder)
    for one in kept:
        one.name = f"exports/{format_}/{one.name}"
    model = None if found.card is None else found.card.id
    return Outcome(model=model, artifacts=kept, result={"export": report})


def _onnx(run: JobRun, found: ModelFiles, folder: Path) -> dict[str, Any]:
    config = EncoderConfig.from_settings(run.settings)
    tower = served_tower(found, run.settings)
    encoder = load_encoder(resolve(found.word), config)
    images, own = _parity_images(run, found)
    pixels: Pixels = np.stack([encoder.preprocess(one) for one in images])
    served = np.concatenate([encoder.encode_images(pixels[i : i + 8]) for i in range(0, len(pixels), 8)])
    limit = run.settings.models.parity_cosine
    side = ImageSide(tower).eval().requires_grad_(False)
    exact = _in_float32(side, pixels)
    # the service may run an optimised encoder: how near that comes is told, and bound by its own limit
    service = onnx_files.agreement(exact, served)
    service.check("the service", cosine=limit, top1=0.0)
    report: dict[str, Any] = {
        "images": len(images),
        "trained_on": own,
        "service": asdict(service),
        "files": {},
    }

    def passed(file: Path, reference: Any, inputs: onnx_files.Arrays, gallery: Any = None) -> None:
        onnx_files.takes_any_batch(file, inputs)
        result = onnx_files.agreement(
            reference, np.column_stack(onnx_files.run(file, inputs)), gallery=gallery
        )
        result.check(file.name, cosine=limit, top1=onnx_files.TOP1)
        report["files"][file.name] = asdict(result)

    of = 3
    file = folder / "image_encoder.onnx"
    onnx_files.export(side, {"pixels": pixels[:2]}, file, ["features"], dynamic={"pixels": [0]})
    passed(file, exact, {"pixels": pixels}, exact)
    run.step(1, of)
    if isinstance(encoder, TextEncoder):
        _texts(encoder, tower, folder, passed)
    run.step(2, of)
    if found.folder is not None:
        classifier = TrainedClassifier.load(found.folder)
        file = folder / "classifier.onnx"
        module = ClassifierModule(side, classifier).eval().requires_grad_(False)
        _heads_agree(module, classifier, file.name, limit)
        onnx_files.export(module, {"pixels": pixels[:2]}, file, ["scores", "none"], dynamic={"pixels": [0]})
        shares = _shares(classifier.predict(exact))
        passed(file, shares, {"pixels": pixels})
        report["service"] = asdict(onnx_files.agreement(shares, _shares(classifier.predict(served))))
        report["labels"] = classifier.labels
        report["threshold"] = classifier.threshold
    (folder / "preprocessing.json").write_text(json.dumps(dict(tower.preprocessing), indent=2) + "\n")
    run.step(3, of)
    return report


def _texts(encoder: TextEncoder, tower: ImageTower, folder: Path, passed: Callable[..., None]) -> None:
    """The text side's graph and its tokenizer, in an encoder that has one."""
    text = FAMILIES.get(tower.family).text_side(tower)
    file = folder / "text_encoder.onnx"
    tokens = text.tokenize(_SENTENCES)
    two = {name: one[:2] for name, one in tokens.items()}
    onnx_files.export(
        text.module.requires_grad_(False), two, file, ["features"], dynamic={n: [0, 1] for n in two}
    )
    words = encoder.encode_texts(_SENTENCES)
    passed(file, words, tokens, words)
    text.tokenizer.save_pretrained(folder / "tokenizer")


def served_tower(found: ModelFiles, settings: Settings) -> ImageTower:
    """The image tower with a trained model's changes in it."""
    base = found.card.base_model if found.card is not None else found.word
    tower = image_tower(base, settings)
    note = None if found.folder is None else adapted_note(found.folder)
    if note is not None and found.folder is not None:
        FAMILIES.get(tower.family).apply_changes(tower, str(note["adapted"]), found.folder)
    tower.module.eval()
    return tower


def _heads_agree(module: ClassifierModule, classifier: TrainedClassifier, name: str, limit: float) -> None:
    """Raise NotTrainableError unless the head gives its own examples the same labels.

    The images at hand may all show something else, and then say little of the labels.
    """
    known = classifier.weights.exemplars
    found = module.judged(torch.from_numpy(np.ascontiguousarray(known, np.float32)))
    ours = np.column_stack([one.numpy() for one in found])
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
            return [examples.image(one) for one in examples.items[::step][:_IMAGES]], True
        except vlm_export.GONE:
            run.log("The data it was trained on is gone: compared on made-up images.")
    return parity.images(_MADE_UP), False
