"""Trained models as clients see them, and how one comes in as an archive.

Knows cards, notes and archives; knows nothing of HTTP or of how models answer.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from app.archives import ArchiveLimits, unpack
from app.catalog.schemas import Model, TrainedFacts
from app.errors import ArchiveError, InvalidInputError, VisionError
from app.inference.base_fingerprint import base_fingerprint
from app.inference.encoders.source import EncoderConfig
from app.inference.model_info import ModelInfo
from app.recognition.trained import NOTE, TrainedClassifier
from app.settings import Settings
from app.training.models import Trained
from app.training.resolving import MODEL_NAME
from app.training.spec import ModelCard

_MIB = 1024 * 1024
_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".md", ".png", ".jinja", ".model"})
_MOST_FILES = 200
_ADAPTER = "adapter_config.json"
_CHANGED = "Its base model here is another version than the one it was trained over: train it again."
_TASKS = {"classification", "vqa", "caption"}


def described(one: Trained, settings: Settings, live: list[ModelInfo]) -> Model:
    """A trained model beside the models that came with the service; blocks while its base is looked at."""
    card = one.card
    current = base_fingerprint(card.base_model, EncoderConfig.from_settings(settings), vlm=card.kind == "vlm")
    changed = None not in (current, card.base_fingerprint) and current != card.base_fingerprint
    note = _CHANGED if changed else None if current else "Its base model is not on this machine yet."
    loaded = any(info.name == card.id for info in live)
    return Model(
        id=card.id,
        kind=card.kind,
        tasks=None if card.kind == "classifier" else [card.task],
        family=card.family,
        aliases=[],
        default=False,
        loaded=loaded,
        dim=None,
        input_size=None,
        memory_mb=None,
        runtime=None,
        fingerprint=None,
        trained=TrainedFacts(
            base_model=Path(card.base_model).name if Path(card.base_model).is_absolute() else card.base_model,
            method=card.method,
            task=card.task,
            labels=card.labels,
            strategy=card.strategy,
            job_id=one.job_id,
            data=card.data,
            settings=card.settings,
            seed=card.seed,
            metrics=card.metrics,
            parameters=card.parameters,
            size_mb=None if card.size_bytes is None else round(card.size_bytes / _MIB, 2),
            base_changed=changed,
            note=note,
            created_at=one.created_at,
        ),
    )


def unpacked(archive: Path, settings: Settings) -> tuple[Path, ModelCard]:
    """An uploaded model in a new folder, checked, and its card; whoever calls removes the folder's parent.

    Raises ArchiveError, ArchiveTooLargeError, InvalidInputError naming what is wrong, ModelUnavailableError for
    weights that do not go together. Blocks.
    """
    place = settings.data_dir.expanduser() / "tmp" / "models"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(dir=place)) / "model"
    limits = ArchiveLimits.from_settings(settings)
    unpack(archive, folder, settings, limits=ArchiveLimits(_MOST_FILES, limits.ratio, limits.unpacked_bytes))
    inner = [one for one in folder.iterdir() if one.is_dir()]
    if not (folder / NOTE).is_file() and len(inner) == 1 and (inner[0] / NOTE).is_file():
        folder = inner[0]
    return folder, _card(folder)


def check_base(card: ModelCard, known: list[ModelInfo]) -> None:
    """Raise InvalidInputError unless the base is a model that this service knows: never a folder of this machine."""
    kind = "vlm" if card.kind == "vlm" else "encoder"
    names = {name for one in known if one.kind == kind for name in (one.name, *one.aliases)}
    if card.base_model not in names:
        raise InvalidInputError(f"vision.json: base_model '{card.base_model[:100]}' is not known here.")


def _card(folder: Path) -> ModelCard:
    try:
        noted = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        noted = None
    if not isinstance(noted, dict):
        raise ArchiveError(f"The archive holds no readable {NOTE}: send a folder that a training job wrote.")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    for name in names:
        if Path(name).suffix.lower() not in _SUFFIXES:
            raise ArchiveError(
                f"'{name[:100]}' is of no kind that a model is made of: only safetensors hold weights."
            )
        if name.endswith(".safetensors"):
            _check_tensors(folder / name)
    name, kind, task = (str(noted.get(key, "")) for key in ("id", "kind", "task"))
    if not re.fullmatch(MODEL_NAME, name):
        raise InvalidInputError("vision.json: id is no name of a model.")
    if kind not in ("classifier", "vlm") or task not in _TASKS:
        raise InvalidInputError(
            "vision.json: kind is classifier or vlm, task classification, vqa or caption."
        )
    if kind == "classifier":
        TrainedClassifier.load(folder)
    else:
        _check_adapter(folder, str(noted.get("base_model", "")))
    return ModelCard.model_validate(
        {
            "id": name,
            "kind": kind,
            "task": task,
            "family": str(noted.get("family", "")),
            "method": str(noted.get("method", "")),
            "base_model": str(noted.get("base_model", "")),
            "base_fingerprint": noted.get("base_fingerprint"),
            "labels": noted.get("labels"),
            "files": [NOTE, *(one for one in names if one != NOTE)],
            "data": {"source": "uploaded"},
        }
    )


def _check_adapter(folder: Path, base: str) -> None:
    """An adapter whose two files name one base, so that neither leads elsewhere."""
    try:
        config: Any = json.loads((folder / _ADAPTER).read_text(encoding="utf-8"))
        named = config["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ArchiveError(f"The archive holds no readable {_ADAPTER}.") from None
    if named != base or not (folder / "adapter_model.safetensors").is_file():
        raise ArchiveError(f"The {_ADAPTER} and {NOTE} of the archive do not go together.")


def _check_tensors(path: Path) -> None:
    try:
        with safe_open(path, framework="numpy") as tensors:
            list(tensors.keys())
    except (SafetensorError, OSError, VisionError):
        raise ArchiveError(f"'{path.name}' is no whole safetensors file.") from None
