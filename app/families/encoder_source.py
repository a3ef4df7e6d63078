"""Which encoder a name means and how it shall be loaded.

Knows names, folders and `config.json`; loads no weights and asks no network.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from app.inference.errors import ModelNotFoundError, ModelUnavailableError
from app.inference.sources import EncoderSource

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
"""Where this project's own trained checkpoints lie; each is found by its folder's name."""

MODEL_TYPES = {"clip": "clip", "siglip": "siglip"}
"""`model_type` of a Hugging Face configuration -> family; not `siglip2`, the NaFlex variant of many sizes."""


HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_NOT_SLUG = re.compile(r"[^a-z0-9._-]+")


def resolve(name: str) -> EncoderSource:
    """`lite`, the name of a checkpoint of this project, a local folder or a hub id, in this order.

    Raises `ModelNotFoundError` when the name is none of these, `ModelUnavailableError` when the folder
    holds something that is not an encoder.
    """
    name = name.strip()
    if name == "lite":
        return EncoderSource("lite", "lite", "", is_local=True)
    own = CHECKPOINTS / name
    if slug(name) == name and (own / "config.json").is_file():
        return EncoderSource(family_in(own), name, str(own), is_local=True)
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        folder = folder.resolve()
        note = adapted_note(folder)
        if note is not None:
            family = resolve(str(note.get("base_model", ""))).family
            known_as = slug(str(note.get("id") or folder.name))
            return EncoderSource(family, known_as, str(folder), is_local=True, aliases=(name,))
        return EncoderSource(
            family_in(folder), slug(folder.name), str(folder), is_local=True, aliases=(name,)
        )
    if HUB_ID.fullmatch(name) and not name.startswith("."):
        family = "siglip" if "siglip" in name.lower() else "clip"
        return EncoderSource(family, slug(name.split("/")[1]), name, is_local=False, aliases=(name,))
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
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        raise ModelUnavailableError(
            f"'{folder.name}' is a model of type '{model_type}'; encoders are {' and '.join(MODEL_TYPES)}."
        )
    return MODEL_TYPES[model_type]


def last_of(name: str) -> str:
    """A name as errors show it to clients: of a folder of this machine the last part only."""
    return Path(name).name if Path(name).is_absolute() else name


def slug(name: str) -> str:
    """A name as it may stand in an address: lower case, without slashes or spaces."""
    return _NOT_SLUG.sub("-", name.lower()).strip("-.") or "encoder"
