"""The commands that come next, ready to be pasted: what a person does with a model that has just been trained."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli import output
from app.cli.client import Service, quoted
from app.cli.files import is_image
from app.cli.session import Session
from app.folders.walking import Walk

PICTURE = "picture.jpg"
"""Stands for an image where none is found."""
QUESTION = "What is this?"
_MAX_HEAD_NAME = 58
"""Characters of a model's name in that of a collection, which may have 63."""


@dataclass(frozen=True)
class TrainingSource:
    """The examples that a model learned from, as far as the command knows them."""

    pictures: Path | None = None
    """A folder with images, or one of them."""
    prepared: str | None = None
    """The prepared folder of the dataset, as it was named."""
    question: str | None = None


def say(
    session: Session, commands: Iterable[list[str]], *, picture: str | None = None, heading: str = "Next:"
) -> None:
    """Print commands below the `heading`, with the flags that lead to the same service; explains a `picture` that is
    not there. Nothing where JSON is wanted.
    """
    if session.json:
        return
    output.say(heading)
    for words in commands:
        output.say("  " + " ".join([shlex.join(["vision", *words]), *session.flags]))
    if picture == PICTURE:
        output.say(f"({PICTURE} stands for an image of your own)")


def after_training(
    session: Session, job: dict[str, Any], model: str, folder: Path | None, source: TrainingSource
) -> None:
    """Print how to use, judge and export the model of an ended job; `folder` is where it was saved."""
    named = str(model) if folder is None else format_path(folder)
    picture = picture_near(source.pictures)
    asked = (job.get("params") or {}).get("question")
    task = "vqa" if asked else job["task"]
    by_head = _by_head(job, model, picture)
    if by_head:
        say(session, by_head, heading="By the closed-form head:")
    commands = [
        using(task, picture, named, asked or source.question or _question(session.service, job, source)),
    ]
    test = _test_data(session.service, job, source)
    if test is not None:
        commands.append(["manyshot", "evaluate", "--model", named, "--test-data", test])
    commands.append(
        ["manyshot", "export", "--model", named, "--format", "onnx", "--output", "./exported_model"]
    )
    say(session, commands, picture=picture)


def _by_head(job: dict[str, Any], model: str, picture: str) -> list[list[str]]:
    """How to use the closed-form head, where the comparison says that the trained model is no better."""
    found = (job.get("result") or {}).get("comparison") or {}
    if found.get("use") != "head" or job.get("method") == "head":
        return []
    if job.get("collection"):
        return [["oneshot", "classify", "--image", picture, "--collection", str(job["collection"])]]
    name = model[:_MAX_HEAD_NAME].replace(".", "-") + "-head"
    return [
        ["collections", "create", name, "--encoder", str(found["encoder"])],
        ["datasets", "teach", str(job["dataset"]), "--collection", name],
        ["oneshot", "classify", "--image", picture, "--collection", name],
    ]


def using(task: str, picture: str, model: str, question: str) -> list[str]:
    """The command that asks a model about a picture."""
    if task == "classification":
        return ["oneshot", "classify", "--image", picture, "--model", model]
    if task == "caption":
        return ["caption", "--image", picture, "--model", model]
    return ["ask", "--image", picture, "--model", model, question]


def picture_near(place: Path | None) -> str:
    """An image that was learned from: the named one, or one below the named folder; else what stands for one."""
    if place is None or place.is_file():
        return PICTURE if place is None else str(place)
    for name in Walk(place):
        if is_image(name):
            return format_path(place / name)
    return PICTURE


def pictures_of(prepared: Path) -> Path | None:
    """The folder that a prepared dataset was sent from, where it is still there."""
    try:
        folder = Path(json.loads((prepared / "dataset.json").read_text(encoding="utf-8"))["sent_from"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if folder.is_dir() else None


def _question(service: Service, job: dict[str, Any], source: TrainingSource) -> str:
    """One of the questions that were taught, else a plain one."""
    if job["task"] != "vqa":
        return QUESTION
    if job.get("collection"):
        path = f"/v1/collections/{quoted(job['collection'])}/answers"
        rows = service.get(path, limit=1)["data"]
        return str(rows[0]["question"]) if rows else QUESTION
    try:
        with (Path(source.prepared or "") / "manifest.jsonl").open(encoding="utf-8") as lines:
            return str(json.loads(next(lines))["question"] or QUESTION)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return QUESTION


def _test_data(service: Service, job: dict[str, Any], source: TrainingSource) -> str | None:
    """The dataset that was trained on, where it keeps examples to judge by."""
    if not job.get("dataset"):
        return None
    found = service.get(f"/v1/datasets/{quoted(job['dataset'])}")
    if not ((found["summary"] or {}).get("splits") or {}).get("test"):
        return None
    return source.prepared or str(job["dataset"])


def format_path(path: Path) -> str:
    """A path that no command takes for an option or an id: relative ones begin with a dot."""
    return str(path) if path.is_absolute() or str(path).startswith(".") else f"./{path}"
