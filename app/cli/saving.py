"""A published model as a folder on this machine: all its files or none."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

import typer

from app.cli import output
from app.cli.client import Service

NOTE = "vision.json"


def check_free(folder: Path, *, force: bool, effect: str = "replaces what is in it") -> None:
    """End the command where `folder` is a file, holds something and `force` is not given, or cannot be written to.

    Args:
        effect: What `force` does, for the sentence.
    """
    if folder.exists() and not folder.is_dir():
        output.fail(f"{folder} is not a folder", output.USAGE)
    if _holds_something(folder) and not force:
        output.fail(f"{folder} is not empty: --force {effect}", output.USAGE)
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        output.fail(f"{folder} cannot be written: {there} is no folder to write to", output.USAGE)


def may_replace(folder: Path, *, force: bool) -> bool:
    """Whether what `folder` holds may be replaced: by `force`, or because the user at a terminal confirms.

    False where it holds nothing. Ends the command as `check_free` does, and where the answer is no.
    """
    if not force and _holds_something(folder) and sys.stdin.isatty() and sys.stderr.isatty():
        typer.confirm(f"{folder} is not empty. Replace what is in it?", abort=True, err=True)
        return True
    check_free(folder, force=force)
    return force


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def save_artifacts(service: Service, job: dict[str, Any], folder: Path, *, force: bool) -> None:
    """Download all files of a job, as `save_files` does."""
    files = service.get(f"/v1/jobs/{job['id']}/artifacts")["data"]
    save_files(service, files, folder, force=force, model=job.get("model"))


def save_files(
    service: Service, files: list[dict[str, Any]], folder: Path, *, force: bool, model: str | None = None
) -> None:
    """Download files into `folder`, which appears whole or stays as it was.

    Folders that all of them lie in, such as an export's own among a model's files, are left away. A note among them
    is given the id of the `model`, which a job that wished for a taken name does not know while it trains.

    Raises what `Service.save` raises; ends the command where a file arrives damaged or cannot be written.
    """
    folder = folder.absolute()
    within = _common([PurePosixPath(file["name"]).parent for file in files])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for file in files:
                _fetch(service, file, draft, within)
            if model is not None and (draft / NOTE).is_file():
                _name(draft / NOTE, model)
            check_free(folder, force=force)
            _swap(draft, folder)
        except KeyboardInterrupt:
            later = "" if model is None else f"; vision models download {model} saves the model"
            output.stop(f"nothing was saved in {folder}{later}")
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        output.fail(f"{folder}: {error.strerror or error}", output.REFUSED)
    output.say(f"Saved {len(files)} files in {folder}")


def _common(folders: list[PurePosixPath]) -> PurePosixPath:
    """The folder that all of them lie in; none where one leads elsewhere, which `_fetch` then refuses."""
    if any(folder.is_absolute() or ".." in folder.parts for folder in folders):
        return PurePosixPath()
    shared = itertools.takewhile(
        lambda steps: len(set(steps)) == 1, zip(*(folder.parts for folder in folders), strict=False)
    )
    return PurePosixPath(*(steps[0] for steps in shared))


def _fetch(service: Service, file: dict[str, Any], draft: Path, within: PurePosixPath) -> None:
    target = (draft / PurePosixPath(file["name"]).relative_to(within)).resolve()
    if not target.is_relative_to(draft.resolve()):
        output.fail(f"the service names a file outside its folder: {file['name']}", output.REFUSED)
    target.parent.mkdir(parents=True, exist_ok=True)
    service.save(file["url"], target)
    with target.open("rb") as data:
        if hashlib.file_digest(data, "sha256").hexdigest() != file["sha256"]:
            output.fail(f"{file['name']} arrived damaged", output.REFUSED)


def _name(note: Path, model: str) -> None:
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        note.write_text(json.dumps({**found, "id": model}, indent=2) + "\n", encoding="utf-8")
    except (ValueError, TypeError):
        output.fail(f"{NOTE} arrived damaged", output.REFUSED)


def _swap(draft: Path, folder: Path) -> None:
    """Put `draft` in the place of `folder`; what was there goes once the new one stands."""
    umask = os.umask(0)
    os.umask(umask)
    draft.chmod(0o777 & ~umask)
    if not folder.exists():
        draft.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    folder.rename(old / "was")
    try:
        draft.rename(folder)
    except OSError:
        (old / "was").rename(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
