"""A trained model's folder as the name of a model: the service is sent what it does not have yet."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from app.cli import output
from app.cli.client import RefusedError, Service, quoted
from app.cli.files import means_folder, suggest_folder
from app.cli.packing import send_packed
from app.cli.saving import NOTE
from app.folders.walking import Walk

_NOT_FOUND = 404
_DERIVED = ("exports", "evaluations")
"""Folders of what was made of a model since, which downloading it brings too: no part of the model."""


def model_id(service: Service, given: str | None) -> str | None:
    """The id that `given` stands for: an id itself, or the folder of a model, which is sent where it is missing.

    Ends the command for a folder that holds no model, or one whose id means another model there.
    """
    if given is None or not Path(given).is_dir():
        if given is not None and means_folder(given):
            near = suggest_folder(Path(given))
            hint = "" if near is None else f": did you mean {near}?"
            output.fail(f"there is no folder {given}{hint}", output.USAGE)
        if given is not None and Path(given).is_file():
            output.fail(f"{given} is a file: name the folder of the model that it is part of", output.USAGE)
        return given
    folder = Path(given)
    name = read_noted_id(folder)
    try:
        service.get(f"/v1/models/{quoted(name)}")
    except RefusedError as error:
        if error.status != _NOT_FOUND:
            raise
        return str(upload(service, folder)["id"])
    there = service.get(f"/v1/models/{quoted(name)}/artifacts")["data"]
    digests = {file["name"]: file["sha256"] for file in there}
    for name_, digest in _weights(folder).items():
        if digests.get(name_) != digest:
            output.fail(
                f"the service has another model '{name}': remove that one, or change the id in {folder / NOTE}",
                output.REFUSED,
            )
    return name


def upload(service: Service, folder: Path) -> dict[str, Any]:
    """Send a model's folder without its exports and evaluations; the model as the service describes it."""
    return send_packed(service, "/v1/models", folder, [folder / name for name in _parts(folder)])


def read_noted_id(folder: Path) -> str:
    """The id in the folder's note; ends the command where there is none."""
    try:
        found = json.loads((folder / NOTE).read_text(encoding="utf-8"))["id"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, str) or not found:
        output.fail(f"{folder} holds no model: it has no {NOTE} with an id", output.USAGE)
    return found


def _parts(folder: Path) -> list[str]:
    """Names of the files that make up the model."""
    return [name for name in Walk(folder) if name.partition("/")[0] not in _DERIVED]


def _weights(folder: Path) -> dict[str, str]:
    found = {}
    for name in _parts(folder):
        if name.endswith(".safetensors"):
            with (folder / name).open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
