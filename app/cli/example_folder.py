"""A folder of examples on this machine: a folder a label, or an `examples.jsonl`, and how each is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from app.cli import output
from app.cli.client import RefusedError, Service, drop_none, quoted
from app.cli.labelled_folders import AUTO, FolderRules, list_labelled_files
from app.cli.rows import each, end
from app.folders.splits import Split, split_named
from app.folders.words import count_of

LINES = "examples.jsonl"
DESCRIBE = "Describe the image."
"""The question that a caption answers."""


@dataclass(frozen=True)
class Example:
    """An image and what it teaches: a label, or the answer to a question."""

    image: Path
    label: str | None = None
    question: str | None = None
    answer: str | None = None


def read(folder: Path, rules: FolderRules = AUTO) -> list[Example]:
    """The folder's examples; ends the command with a sentence where it has none."""
    lines = folder / LINES
    if lines.is_file():
        return _lines(lines, rules)
    if not any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir()):
        raise typer.BadParameter(
            f"{folder} holds neither a folder for each label nor an {LINES}", param_hint="--examples"
        )
    return [Example(file, label=label) for label, file in list_labelled_files([folder], None, rules)]


def upload(service: Service, collection: str, examples: list[Example]) -> int:
    """Send all examples; how many are new. Ends the command where one was refused."""
    path = f"/v1/collections/{quoted(collection)}"

    def send(example: Example, file: Path) -> dict[str, Any]:
        return _send(service, path, example, file)

    rows = each("Uploading", [(example, example.image) for example in examples], send)
    for row in rows:
        row.pop("label", None)
    refused = [row for row in rows if "error" in row]
    if refused or rows.is_interrupted:
        for row in refused[:10]:
            typer.echo(f"{row['file']}: {row['error']}", err=True)
        end(
            rows,
            f"taught to {collection}; no training was asked for. The same command goes on with the others",
        )
    return sum(bool(row["created"]) for row in rows)


def ensure_collection(service: Service, name: str, encoder: str | None) -> None:
    """Make the collection where there is none, bound to `encoder` or the service's default."""
    try:
        service.get(f"/v1/collections/{quoted(name)}")
        return
    except RefusedError as error:
        if error.status != 404:
            raise
    body = drop_none(name=name, encoder=encoder)
    service.call("POST", "/v1/collections", json=body, again=True)


def name_collection(folder: Path) -> str:
    """A folder's name as a collection's: lower case, '-' for what may not stand in one."""
    kept = "".join(
        c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in folder.resolve().name.lower()
    )
    return kept.strip("-_")[:63] or "examples"


def _send(service: Service, path: str, example: Example, file: Path) -> dict[str, Any]:
    if example.label is not None:
        reply = service.send(f"{path}/examples", {"label": example.label}, images=file)["data"][0]
    else:
        texts = {"question": example.question or DESCRIBE, "answer": example.answer or ""}
        reply = service.send(f"{path}/answers", texts, image=file)
    return {"created": reply["created"]}


def _lines(file: Path, rules: FolderRules) -> list[Example]:
    examples, held_out = [], 0
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise typer.BadParameter(f"{file} cannot be read as text", param_hint="--examples") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            example, split = _example(file, number, line)
            if split in (None, "train") or rules.own_split == "ignore":
                examples.append(example)
            else:
                held_out += 1
    if not examples:
        kept = " to teach: its own split keeps all of them for tests" if held_out else ""
        raise typer.BadParameter(f"{file} holds no examples{kept}", param_hint="--examples")
    if held_out:
        output.say(
            f"{file}: {count_of(held_out, 'example')} left out: of a split for tests, which is not taught"
        )
    return examples


def _example(file: Path, number: int, line: str) -> tuple[Example, Split | None]:
    """The example of a line, and the split that it says it is of."""
    try:
        row = json.loads(line)
        image = file.parent / str(row["image"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise typer.BadParameter(
            f"{file}:{number} is no JSON object with an image", param_hint="--examples"
        ) from None
    if not image.is_file():
        raise typer.BadParameter(f"{file}:{number}: there is no {image}", param_hint="--examples")
    split = split_named(str(row.get("split") or ""))
    texts = {
        name: str(row[name]).strip() for name in ("label", "question", "answer", "caption") if row.get(name)
    }
    if "label" in texts:
        return Example(image, label=texts["label"]), split
    if "question" in texts and "answer" in texts:
        return Example(image, question=texts["question"], answer=texts["answer"]), split
    if "caption" in texts:
        return Example(image, question=DESCRIBE, answer=texts["caption"]), split
    raise typer.BadParameter(
        f"{file}:{number} has neither a label, a caption, nor a question with its answer",
        param_hint="--examples",
    )
