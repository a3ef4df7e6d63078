"""An evaluation job: a model asked about examples it was not trained on; figures and pictures among its artefacts."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.families.encoders import load_encoder, resolve
from app.inference.errors import ModelTaskError
from app.inference.prompts import Prompt
from app.inference.sources import EncoderConfig
from app.jobs.errors import NotTrainableError
from app.jobs.spec import Outcome
from app.jobs.tables import JobEvent
from app.models.classifiers import TrainedClassifier
from workers.evaluation import pictures, tables
from workers.shared import metrics
from workers.shared.data import load_examples
from workers.shared.examples import Examples, Item
from workers.shared.model_files import ModelFiles, model_files
from workers.shared.run import JobRun

_BATCH = 16
_WORST = 25
_MAX_TOKENS = 128
_FILES = {
    "confusion_matrix": ("confusion.png", tables.CONFUSION),
    "calibration_error": ("reliability.png",),
}
"""Files that belong to one metric."""


def evaluate(run: JobRun) -> Outcome:
    """Figures of the model on the split that the job names.

    Raises NotTrainableError where the split is empty, ModelTaskError where the model does something else, and what
    loading it raises.
    """
    found = model_files(run)
    task = run.spec.task
    examples = load_examples(run)
    items = _of_split(examples, str(run.spec.params.get("split", "test")))
    run.phase("evaluating")
    folder = run.scratch / "evaluation"
    folder.mkdir(exist_ok=True)
    if task == "classification" and run.spec.base_kind == "vlm":
        figures = _labelling_vlm(run, found, examples, items, folder)
    elif task == "classification":
        figures = _classifier(run, found, examples, items, folder)
    else:
        figures = _vlm(run, found, examples, items, folder)
    figures = _only(figures, run.spec.params.get("metrics"), folder)
    figures["source"], figures["split"] = examples.source, run.spec.params.get("split", "test")
    _curves(run, found.job, folder)
    (folder / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n")
    run.phase("saving")
    kept = run.publish(folder)
    for artifact in kept:
        artifact.name = f"evaluations/{run.task.job}/{artifact.name}"
    flat = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    model = None if found.card is None else found.card.id
    return Outcome(model=model, artifacts=kept, metrics=flat, result={"evaluation": figures})


def _only(figures: dict[str, Any], wanted: list[str] | None, folder: Path) -> dict[str, Any]:
    for metric, names in _FILES.items():
        if wanted is not None and metric not in wanted:
            for name in names:
                (folder / name).unlink(missing_ok=True)
    return metrics.only(figures, wanted)


def _of_split(examples: Examples, split: str) -> list[Item]:
    if split == "all" or not examples.is_split:
        return list(examples.items)
    items = [item for item in examples.items if item.split == split]
    if not items:
        raise NotTrainableError(f"The data has no examples in the split '{split}'.")
    return items


def _classifier(
    run: JobRun, found: ModelFiles, examples: Examples, items: Sequence[Item], folder: Path
) -> dict[str, Any]:
    if found.folder is None or found.card is None or found.card.kind != "classifier":
        raise ModelTaskError("This model has no labels of its own to be judged by.")
    classifier = TrainedClassifier.load(found.folder)
    encoder = load_encoder(resolve(found.word), EncoderConfig.from_settings(run.settings))
    scores, none = [], []
    for start in range(0, len(items), _BATCH):
        part = items[start : start + _BATCH]
        pixels = np.stack([encoder.preprocess(examples.image(item)) for item in part])
        prediction = classifier.predict(encoder.encode_images(pixels))
        scores.append(prediction.scores)
        none.append(prediction.none)
        run.step(start + len(part), len(items))
    shares, unknown = np.concatenate(scores), np.concatenate(none)
    known = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    truth = [item.label or "" for item in items]
    figures = metrics.classification(truth, known, classifier.labels, none=unknown)
    _draw(figures, known, classifier.labels, examples, items, folder)
    return figures


def _draw(
    figures: dict[str, Any],
    known: metrics.Floats,
    labels: Sequence[str],
    examples: Examples,
    items: Sequence[Item],
    folder: Path,
) -> None:
    """The pictures of a classification, and the same as data: `known` float[n, labels] of the n items."""
    truth = [item.label or "" for item in items]
    (folder / "confusion.png").write_bytes(pictures.confusion_matrix(**figures["confusion"]))
    curve = pictures.reliability_curve(figures["reliability"], figures["calibration_error"])
    (folder / "reliability.png").write_bytes(curve)
    said = [labels[index] for index in known.argmax(axis=1)]
    wrong = [index for index, (answer, label) in enumerate(zip(said, truth, strict=True)) if answer != label]
    wrong.sort(key=lambda index: -known[index].max())
    scores = known.max(axis=1).tolist()
    tables.write_confusion(folder, figures["confusion"], items, said)
    tables.write_mistakes(
        folder, [tables.build_mistake(items[i], truth[i], said[i], scores[i]) for i in wrong]
    )
    mistakes = [
        pictures.Mistake(examples.image(items[i]), truth[i], said[i], float(known[i].max()))
        for i in wrong[:_WORST]
    ]
    (folder / "mistakes.png").write_bytes(pictures.contact_sheet(mistakes))


def _labelling_vlm(
    run: JobRun, found: ModelFiles, examples: Examples, items: Sequence[Item], folder: Path
) -> dict[str, Any]:
    """A vision-language model that learned labels as answers: each answer constrained to these by its likelihood, and
    beside it how often the answer that it gives freely is the label.
    """
    note = {} if found.folder is None else json.loads((found.folder / "vision.json").read_text())
    labels, question = note.get("labels"), note.get("question")
    if not labels or not question:
        raise ModelTaskError("This model learned no labels to be judged by.")
    # transformers: a second that a classifier's evaluation does without
    from app.families.vlms import load_vlm, resolve_vlm
    from workers.methods.common.vlm.answering import SPARE_TOKENS, compute_label_figures
    from workers.methods.common.vlm.labels import LabelScorer
    from workers.methods.common.vlm.lessons import lessons_for

    vlm = load_vlm(resolve_vlm(found.word), EncoderConfig.from_settings(run.settings))
    scorer = LabelScorer(lessons_for(vlm), labels, _BATCH)
    shares, matched = [], 0
    for number, item in enumerate(items, 1):
        prompt = Prompt(examples.image(item), question, "vqa", max_new_tokens=scorer.longest + SPARE_TOKENS)
        with vlm.turn():
            shares.append(scorer.probabilities(prompt))
        said = vlm.generate([vlm.pack(prompt)])[0].text
        matched += metrics.normalise(said) == metrics.normalise(item.label or "")
        run.step(number, len(items))
    known = np.stack(shares)
    figures = compute_label_figures(items, known, labels, matched / len(items))
    _draw(figures, known, labels, examples, items, folder)
    return {**figures, "question": question}


def _vlm(
    run: JobRun, found: ModelFiles, examples: Examples, items: Sequence[Item], folder: Path
) -> dict[str, Any]:
    if found.card is not None and found.card.kind != "vlm":
        raise ModelTaskError("This model classifies; it does not answer questions.")
    from app.families.vlms import load_vlm, resolve_vlm

    vlm = load_vlm(resolve_vlm(found.word), EncoderConfig.from_settings(run.settings))
    task = "vqa" if run.spec.task == "vqa" else "caption"
    if task not in vlm.tasks:
        raise ModelTaskError(f"The model does not do what these examples ask for ({task}).")
    said: list[str] = []
    for number, item in enumerate(items, 1):
        said.append(_generate_answer(vlm, examples, item, task))
        run.step(number, len(items))
    questions = [item.question for item in items] if task == "vqa" else None
    references = _references(items)
    figures = metrics.texts(said, references, questions)
    wrong = [
        (item, right[0], answer)
        for item, answer, right in zip(items, said, references, strict=True)
        if metrics.normalise(answer) not in {metrics.normalise(answer) for answer in right}
    ]
    tables.write_mistakes(
        folder, [tables.build_mistake(item, truth, answer) for item, truth, answer in wrong]
    )
    mistakes = [
        pictures.Mistake(examples.image(item), f"{item.question or ''} {truth}".strip(), answer)
        for item, truth, answer in wrong[:_WORST]
    ]
    (folder / "mistakes.png").write_bytes(pictures.contact_sheet(mistakes))
    return figures


def _generate_answer(vlm: Any, examples: Examples, item: Item, task: Any) -> str:
    prompt = Prompt(examples.image(item), item.question or "", task, max_new_tokens=_MAX_TOKENS)
    return str(vlm.generate([vlm.pack(prompt)])[0].text)


def _references(items: Sequence[Item]) -> list[list[str]]:
    """Every right answer to the same question about the same image, or every caption of the image."""
    known: defaultdict[tuple[str, str | None], list[str]] = defaultdict(list)
    for item in items:
        known[item.sha256, item.question].append(item.answer or "")
    return [known[item.sha256, item.question] for item in items]


def _curves(run: JobRun, job: str | None, folder: Path) -> None:
    """How the model's losses and accuracies went while it was trained, where its job is still known."""
    series: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    if job is not None:
        with Session(run.engine) as session:
            query = select(JobEvent.data).where(JobEvent.job_id == job, JobEvent.kind == "metric")
            for data in session.scalars(query.order_by(JobEvent.id)):
                for name, value in data["values"].items():
                    if "loss" in name or "accuracy" in name:
                        series[name].append((data["step"], value))
    if series:
        (folder / "curves.png").write_bytes(pictures.curves(series))
