"""A folder of examples as the name of a dataset: the service is sent what is not prepared yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from app.cli import following, next_steps, output
from app.cli.client import Service, quoted
from app.cli.files import means_folder, say_left_out, suggest_folder
from app.cli.labelled_folders import AUTO, FolderRules
from app.cli.next_steps import TrainingSource
from app.cli.packing import files_of, send_packed
from app.cli.session import Session
from app.cli.wording import in_flags
from app.folders.words import count_of

NOTE = "dataset.json"


def upload(session: Session, folder: Path, fields: dict[str, str], *, quiet: bool = False) -> dict[str, Any]:
    """Send a folder and wait until it is prepared; ends the command where it cannot be. Says what is left out."""
    files = files_of(folder)
    if not files:
        output.fail(f"{folder} holds no files", output.USAGE)
    if not quiet:
        output.say(f"Sending {count_of(len(files), 'file')} of {folder}")
        say_left_out(folder, [])
    made = send_packed(session.service, "/v1/datasets", folder, files, **fields)
    return wait_until_prepared(session, made, quiet=quiet)


def wait_until_prepared(session: Session, made: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """The dataset once its job has ended; ends the command where that fails."""
    try:
        following.wait(session, session.service.get(f"/v1/jobs/{made['job']}"), quiet=quiet)
    except typer.Exit as ended:
        if ended.exit_code == output.REFUSED:
            output.say(f"All reasons, counted: vision datasets show {made['id']}")
        raise
    return session.service.get(f"/v1/datasets/{made['id']}")


def write_note(service: Service, dataset: dict[str, Any], folder: Path, sent_from: Path) -> None:
    """Write down which dataset it is and which folder was sent, beside its manifest and its report, so that it is found
    again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("manifest", "report"):
        service.save(f"/v1/datasets/{dataset['id']}/{name}", folder / f"{name}.jsonl")
    draft = folder / f".{NOTE}.new"
    note = {**dataset, "sent_from": str(sent_from.resolve())}
    draft.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    draft.rename(folder / NOTE)


def find_training_source(given: str | None) -> TrainingSource:
    """What is known here of a dataset: of a prepared folder where its images are, of a folder of examples these."""
    folder = None if given is None else Path(given)
    if folder is None or not folder.is_dir():
        return TrainingSource()
    if (folder / NOTE).is_file():
        return TrainingSource(next_steps.pictures_of(folder), given)
    return TrainingSource(folder)


def split_to_judge(session: Session, dataset: str) -> str:
    """Of a folder that was sent to judge by: the test split that it brought itself, else everything."""
    summary = session.service.get(f"/v1/datasets/{quoted(dataset)}")["summary"] or {}
    tests = (summary.get("splits") or {}).get("test")
    if not (summary.get("own_split") and tests):
        return "all"
    session.say(f"Judging by the {count_of(tests, 'example')} of its own test split")
    return "test"


def print_dataset(session: Session, dataset: dict[str, Any]) -> None:
    """Say what was guessed of a folder that was sent, and what was refused."""
    summary = dataset["summary"] or {}
    for remark in summary.get("remarks", ()):
        session.say(f"Note: {in_flags(remark)}")
    for reason, count in summary.get("refused", {}).items():
        session.say(f"Refused: {count_of(count, 'file')}, {reason}")


def check_folder(given: str) -> None:
    """End the command where that is a file, or a folder that is not there; a folder and a dataset's id pass."""
    folder = Path(given)
    if folder.is_dir():
        return
    if folder.exists():
        output.fail(
            f"{given} is a file: name a folder of examples, or unpack it into one first", output.USAGE
        )
    near = suggest_folder(folder)
    if near is not None or means_folder(given):
        hint = "" if near is None else f": did you mean {near}?"
        output.fail(f"there is no folder {given}{hint}", output.USAGE)


def dataset_id(session: Session, given: str, rules: FolderRules = AUTO) -> str:
    """The id that a prepared folder, a folder of examples (which is sent first) or an id stands for."""
    folder = Path(given)
    note = folder / NOTE
    if note.is_file():
        try:
            return str(json.loads(note.read_text(encoding="utf-8"))["id"])
        except (OSError, ValueError, KeyError, TypeError):
            output.fail(f"{note} cannot be read: prepare the dataset again", output.USAGE)
    if folder.is_dir():
        fields = {"name": folder.resolve().name or "dataset", **rules.fields()}
        found = upload(session, folder, fields, quiet=session.json)
        print_dataset(session, found)
        return str(found["id"])
    check_folder(given)
    # the service names datasets that are called so
    return str(session.service.get(f"/v1/datasets/{quoted(given)}")["id"])
