"""A training job from its examples to its published model, whatever the method."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import time
from collections import Counter
from typing import Any

from pydantic import BaseModel

from app.inference import device as devices
from app.jobs.spec import ModelCard, Outcome
from app.methods.params import DEFAULT_QUESTION, SharesParams
from app.settings import Settings
from workers.methods import load_method
from workers.shared.data import load_examples
from workers.shared.examples import Examples
from workers.shared.knowing import add_domain
from workers.shared.method import Judgement
from workers.shared.metrics import only
from workers.shared.model_page import model_page
from workers.shared.run import JobRun
from workers.training.comparing import compare

CARD = "vision.json"


def train(run: JobRun) -> Outcome:
    """Validate, prepare, fit, evaluate, save; raises NotTrainableError and what the method raises."""
    began = time.monotonic()
    spec = run.spec
    trainer, params = load_method(spec)
    _share_cores(run.settings)
    examples = load_examples(run)
    if spec.task == "classification" and spec.base_kind == "vlm":
        examples = examples.ask_for_labels(getattr(params, "question", None) or DEFAULT_QUESTION)
    examples = _limit_per_label(
        _short(examples, params.max_answer_chars, run), params.examples_per_label, spec.seed
    )
    examples = _expect_labels(examples, params, run)
    trainer.validate(params, examples)
    method = trainer(run, params, examples)
    method.prepare()
    run.phase("fitting")
    method.fit()
    if run.rank != 0:  # what follows is one process's, and so is the folder
        return Outcome()
    run.phase("evaluating")
    evaluation = only(method.evaluate(), params.metrics)
    run.phase("saving")
    folder = run.scratch / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    card = method.save(folder)
    judgement: Judgement | None = getattr(method, "judgement", None)
    del method  # another model is loaded beside it
    _free_memory()
    if examples.labels:
        run.phase("evaluating")
        card.comparison = compare(run, examples, judgement)
        run.phase("saving")
    if spec.base_kind == "vlm":
        card.files += add_domain(run, examples, folder)
    _fill(card, run, examples, evaluation)
    _name(folder, card)
    (folder / "README.md").write_text("\n".join(model_page(card)), encoding="utf-8")
    (folder / "evaluation.json").write_text(json.dumps(evaluation, indent=2) + "\n")
    files = run.publish(folder)
    card.size_bytes = sum(file.size for file in files)
    flat = {name: value for name, value in evaluation.items() if isinstance(value, int | float)}
    return Outcome(
        card=card,
        artifacts=files,
        metrics=flat,
        result={
            "evaluation": evaluation,
            **({} if card.comparison is None else {"comparison": card.comparison.model_dump()}),
            "seconds": round(time.monotonic() - began, 1),
            **run.throughput,
        },
    )


def _free_memory() -> None:
    """Of what was trained, before another model is loaded beside it."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _share_cores(settings: Settings) -> None:
    """As many threads as the service's models take, divided among the ranks of a node."""
    import torch  # every method has loaded it by now; this module is read before one is chosen

    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(max(devices.threads(settings.models.threads) // ranks, 1))


def _short(examples: Examples, most: int | None, run: JobRun) -> Examples:
    kept = [item for item in examples.items if most is None or len(item.answer or "") <= most]
    if len(kept) < len(examples.items):
        run.log(
            f"{len(examples.items) - len(kept)} examples with answers over {most} characters are left out"
        )
    return examples.only(kept)


def _expect_labels(examples: Examples, params: BaseModel, run: JobRun) -> Examples:
    """The examples, their labels expected as the parameters say; tells the log where that is not all alike."""
    if not isinstance(params, SharesParams) or run.spec.base_kind != "encoder":
        return examples
    if params.label_shares is not None:
        examples = examples.expect(params.label_shares)
    if examples.label_shares == "examples":
        whose = "" if params.label_shares else ", as its collection does"
        run.log(f"The model expects each label as often as there are examples of it{whose} (label_shares).")
    return examples


def _limit_per_label(examples: Examples, most: int | None, seed: int) -> Examples:
    """At most so many examples of each label to train on; those held out by the data itself stay."""
    if most is None:
        return examples
    order = sorted(
        examples.items,
        key=lambda item: hashlib.sha256(f"{seed} {item.sha256} {item.question}".encode()).digest(),
    )
    counts: Counter[str] = Counter()
    kept = []
    for item in order:
        held = item.split in ("validation", "test")
        if not held:
            counts[item.label or ""] += 1
        if held or counts[item.label or ""] <= most:
            kept.append(item)
    return examples.only(kept)


def _fill(card: ModelCard, run: JobRun, examples: Examples, evaluation: dict[str, Any]) -> None:
    """What the card says of every model alike."""
    spec = run.spec
    card.id = spec.model or card.id
    card.metrics = {name: value for name, value in evaluation.items() if isinstance(value, int | float | str)}
    card.settings = dict(spec.params)
    if (
        spec.base_kind == "encoder"
        and "label_shares" in card.settings
        and examples.label_shares == "examples"
    ):
        card.settings["label_shares"] = "examples"  # the collection's, where the job names none
    card.strategy = run.task.strategy
    card.seed = spec.seed
    card.data = {
        "source": examples.source,
        "examples": len(examples.items),
        "labels": dict(examples.counts),
        **card.data,
    }


def _name(folder: Any, card: ModelCard) -> None:
    """The folder says by itself what it holds, and how that compares with what needs no training."""
    file = folder / CARD
    noted = json.loads(file.read_text())
    noted["id"] = card.id
    if card.comparison is not None:
        noted["comparison"] = card.comparison.model_dump()
    file.write_text(json.dumps(noted, indent=2) + "\n")
