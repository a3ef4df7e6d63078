"""Which encoder a name means and how it shall be loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.families import FAMILIES
from app.inference.errors import ModelNotFoundError, ModelUnavailableError
from app.inference.sources import CHECKPOINTS, HUB_ID, EncoderSource, last_of, slug


def resolve(name: str) -> EncoderSource:
    """A family's built-in model, the name of a checkpoint of this project, a local folder or a hub id, in this order.

    Raises `ModelNotFoundError` when the name is none of these, `ModelUnavailableError` when the folder
    holds something that is not an encoder.
    """
    name = name.strip()
    for family in FAMILIES.of_kind("encoder"):
        if name and name == family.built_in:
            return EncoderSource(family.name, name, "", is_local=True)
    own = CHECKPOINTS / name
    if slug(name) == name and (own / "config.json").is_file():
        return EncoderSource(family_in(own), name, str(own), is_local=True)
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        folder = folder.resolve()
        note = adapted_note(folder)
        if note is not None:
            base = resolve(str(note.get("base_model", "")))
            known_as = slug(str(note.get("id") or folder.name))
            return EncoderSource(base.family, known_as, str(folder), is_local=True, aliases=(name,))
        return EncoderSource(
            family_in(folder), slug(folder.name), str(folder), is_local=True, aliases=(name,)
        )
    if HUB_ID.fullmatch(name) and not name.startswith("."):
        guess = FAMILIES.of_hub_id(name, "encoder").name
        return EncoderSource(guess, slug(name.split("/")[1]), name, is_local=False, aliases=(name,))
    raise ModelNotFoundError(
        f"There is no encoder '{last_of(name)}': name a family, a Hugging Face id or a local folder."
    )


def adapted_note(folder: Path) -> dict[str, Any] | None:
    """What `vision.json` says of a folder that changes another encoder; None for any other folder."""
    try:
        note = json.loads((folder / "vision.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) and note.get("adapted") in ("peft", "tail", "full") else None


def family_in(folder: Path) -> str:
    """The family of the model in a folder, from its `config.json`.

    Raises `ModelNotFoundError` without that file, `ModelUnavailableError` when it is damaged or of a model
    that is no encoder.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type = config["model_type"]
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNotFoundError(
            f"The folder '{folder.name}' holds no model: it has no config.json."
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelUnavailableError(f"The config.json of '{folder.name}' cannot be read.") from None
    family = FAMILIES.of_model_type(model_type, "encoder")
    if family is None:
        raise ModelUnavailableError(
            f"'{folder.name}' is a model of type '{model_type}'; encoders are of the types "
            f"{', '.join(FAMILIES.model_types('encoder'))}."
        )
    return family.name
