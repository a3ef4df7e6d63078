"""A configuration file on its way to the service: the folders it names are sent, the rest goes as it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.cli import output
from app.cli.dataset_folders import print_dataset, upload
from app.cli.labelled_folders import FolderRules
from app.cli.session import Session
from app.cli.submitting import check_request

_FORMATS = {"custom": "jsonl"}
_MAX_BYTES = 1 << 20


def read(file: Path) -> dict[str, Any]:
    """The document; ends the command where the file is no YAML object, naming the line."""
    if not file.is_file():
        output.fail(f"{file} is no regular file", output.USAGE)
    try:
        text = file.read_text(encoding="utf-8")
        if len(text) > _MAX_BYTES:
            output.fail(f"{file} is larger than 1 MiB", output.USAGE)
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        output.fail(f"{file}{where}: this is no valid YAML", output.USAGE)
    except UnicodeDecodeError:
        output.fail(f"{file} is no YAML: it holds no text", output.USAGE)
    except OSError as error:
        output.fail(f"{file} cannot be read: {error.strerror or error}", output.USAGE)
    if not isinstance(document, dict):
        output.fail(f"{file} holds no configuration", output.USAGE)
    try:
        # YAML has dates and keys that are no words; JSON, which travels, has neither
        plain: dict[str, Any] = json.loads(json.dumps(document, default=str, allow_nan=False))
    except (TypeError, ValueError):
        output.fail(f"{file} holds a number or a key that cannot be sent", output.USAGE)
    return plain


@dataclass(frozen=True)
class SentDocument:
    """A document without the folders that it names, the datasets that these became, and what was warned of."""

    document: dict[str, Any]
    dataset: str | None
    held_out: str | None
    warnings: tuple[str, ...]
    folder: Path | None = None
    """Of the examples to learn from."""


def send(
    session: Session,
    document: dict[str, Any],
    file: Path,
    rules: FolderRules,
    *,
    data: bool,
    beside: dict[str, Any],
) -> SentDocument:
    """Send the folders that the document names.

    Relative folders are looked for beside the file. Nothing is sent of a document that the service finds wrong, or
    whose model is not at hand, or with which a request's other fields `beside` it do not go; and without `data` not the
    folder to learn from, in whose place there is another source. Fields that have no effect are printed first.
    """
    checked = session.service.call("POST", "/v1/configurations/check", json=document, again=True)
    warnings = tuple(f"{note['field']}: {note['sentence']}" for note in checked["warnings"])
    for warning in warnings:
        output.say(warning)
    check_request(session, {**beside, "config": document})
    left = dict(document)
    if not data:
        left["dataset"] = {
            name: value for name, value in left.get("dataset", {}).items() if name != "data_dir"
        }
    folder = _folder(left, "dataset", "data_dir", file)
    test = _folder(left, "evaluation", "test_data_dir", file)
    about = left.get("dataset") if isinstance(left.get("dataset"), dict) else {}
    dataset = None if folder is None else _dataset(session, folder, about or {}, rules)
    held_out = None if test is None else _dataset(session, test, {}, rules)
    if dataset and held_out:
        _check_same_task(dataset, held_out, file)
    return SentDocument(
        left,
        None if dataset is None else str(dataset["id"]),
        None if held_out is None else str(held_out["id"]),
        warnings,
        folder,
    )


def _check_same_task(dataset: dict[str, Any], held_out: dict[str, Any], file: Path) -> None:
    """End the command, before anything is trained, where the test folder cannot judge what is learned."""
    if dataset["task"] != held_out["task"]:
        output.fail(
            f"{file}: evaluation.test_data_dir teaches {held_out['task']} and dataset.data_dir {dataset['task']}: a "
            "model that learned one is not judged by the other",
            output.USAGE,
        )


def _folder(document: dict[str, Any], section: str, field: str, file: Path) -> Path | None:
    inner = document.get(section)
    if not isinstance(inner, dict) or not inner.get(field):
        return None
    folder = file.parent / Path(str(inner[field])).expanduser()
    if not folder.is_dir():
        output.fail(f"{file}: {section}.{field}: there is no folder {folder}", output.USAGE)
    document[section] = {name: value for name, value in inner.items() if name != field}
    return folder


def _dataset(session: Session, folder: Path, about: dict[str, Any], rules: FolderRules) -> dict[str, Any]:
    format_ = str(about.get("format") or "auto")
    fields = {"name": folder.resolve().name or "dataset", "format": _FORMATS.get(format_, format_)}
    split = about.get("split_ratio")
    if isinstance(split, list):
        fields["split"] = ",".join(str(share) for share in split)
    found = upload(session, folder, fields | rules.fields())
    print_dataset(session, found)
    return found
