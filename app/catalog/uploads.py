"""A model that comes in as an archive: every file of it is looked at before anything is kept or loaded.

Knows archives, notes, adapters and tensors; knows nothing of HTTP or of models at work.
"""

from __future__ import annotations

import re
import shutil
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic_core
import torch
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from safetensors import SafetensorError, safe_open

from app.archives import ArchiveLimits, unpack
from app.catalog import whole
from app.catalog.trained import is_whole
from app.errors import ArchiveError, InvalidInputError, ModelUnavailableError
from app.inference.encoders.source import HUB_ID, EncoderConfig
from app.inference.model_info import ModelInfo
from app.recognition.names import label_name
from app.recognition.trained import NOTE, WEIGHTS, ClassifierNote, TrainedClassifier
from app.settings import Settings
from app.training.params import MAX_QUESTION_CHARS
from app.training.resolving import MODEL_NAME
from app.training.spec import ModelCard
from app.wrong_fields import complaints

_MIB = 1024 * 1024
_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".md", ".png", ".jinja", ".model"})
_MOST_FILES = 200
_MOST_JSON = 64 * _MIB
_TYPES = frozenset({"F32", "F16", "BF16", "I64", "I32", "U8", "BOOL"})
_ADAPTER, _ADAPTER_WEIGHTS, _TAIL = "adapter_config.json", "adapter_model.safetensors", "tail.safetensors"
_PARTS = {"peft": _ADAPTER, "tail": _TAIL, "full": "config.json"}

_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,60}$")]


class _Note(BaseModel):
    """What every `vision.json` has; a classifier's has more."""

    model_config = ConfigDict(extra="ignore")

    format: Literal[1] = 1
    id: Annotated[str, StringConstraints(pattern=f"^{MODEL_NAME}$")]
    kind: Literal["classifier", "vlm"]
    task: Literal["classification", "vqa", "caption"]
    tasks: list[Literal["vqa", "caption"]] | None = None
    method: _Word
    family: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,60}$")] = ""
    base_model: Annotated[str, StringConstraints(max_length=200)]
    base_fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,64}$")] | None = None
    labels: list[str] | None = Field(None, min_length=2)
    question: Annotated[str, StringConstraints(min_length=1, max_length=MAX_QUESTION_CHARS)] | None = None


def unpacked(archive: Path, settings: Settings) -> tuple[Path, ModelCard]:
    """An uploaded model in a new folder of its own, checked, and its card; `discard` removes the folder.

    Raises ArchiveError, ArchiveTooLargeError, InvalidInputError naming what is wrong; nothing stays then. Blocks.
    """
    place = EncoderConfig.from_settings(settings).trained_dir / f".upload-{uuid.uuid4()}"
    place.mkdir(parents=True, mode=0o700)
    try:
        folder = place / "model"
        limits = ArchiveLimits.from_settings(settings)
        unpack(
            archive, folder, settings, limits=ArchiveLimits(_MOST_FILES, limits.ratio, limits.unpacked_bytes)
        )
        inner = [one for one in folder.iterdir() if one.is_dir()]
        if not (folder / NOTE).is_file() and len(inner) == 1 and (inner[0] / NOTE).is_file():
            folder = inner[0]
        card = _card(folder, settings)
        named = place / "named" / card.id  # models go by the name of their folder
        named.parent.mkdir()
        return folder.rename(named), card
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def discard(folder: Path) -> None:
    """Remove what `unpacked` made."""
    shutil.rmtree(folder.parent.parent, ignore_errors=True)


def check_base(card: ModelCard, known: list[ModelInfo]) -> None:
    """Raise InvalidInputError unless the base is a model that this service knows: never a folder of this machine.

    Of a model that is whole it need only be a model's name.
    """
    kind = "vlm" if card.kind == "vlm" else "encoder"
    names = {name for one in known if one.kind == kind for name in (one.name, *one.aliases)}
    named = re.fullmatch(MODEL_NAME, card.base_model) or HUB_ID.fullmatch(card.base_model)
    if card.base_model not in names and not (card.kind == "vlm" and is_whole(card) and named):
        raise InvalidInputError(f"vision.json: base_model '{card.base_model[:100]}' is not known here.")


def _card(folder: Path, settings: Settings) -> ModelCard:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if NOTE not in names:
        raise ArchiveError(f"The archive holds no readable {NOTE}: send a folder that a training job wrote.")
    read: dict[str, Any] = {}
    for name in names:
        suffix = Path(name).suffix.lower()
        if suffix not in _SUFFIXES:
            raise ArchiveError(
                f"'{name[:100]}' is of no kind that a model is made of: only safetensors hold weights."
            )
        if suffix == ".json":
            read[name] = _json(folder / name)
    note = _note(read[NOTE])
    if note.labels is not None:
        _check_labels(note, settings)
    head = folder / WEIGHTS
    if note.kind == "classifier" and head.is_file() and head.stat().st_size > settings.max_head_mb * _MIB:
        raise InvalidInputError(f"{WEIGHTS}: it is larger than {settings.max_head_mb} MiB.")
    for name in names:
        if name.endswith(".safetensors"):
            _check_tensors(folder / name)
    adapted = read[NOTE].get("adapted")
    if note.kind == "classifier":
        _check_classifier(folder, read[NOTE])
    elif not {_ADAPTER, "config.json"} & set(names):
        raise ArchiveError(
            f"The archive holds neither an adapter ({_ADAPTER}) nor a whole model (config.json)."
        )
    if _ADAPTER in names or adapted == "peft":
        _check_adapter(folder, read.get(_ADAPTER), note.base_model)
    elif adapted == "tail" and _TAIL not in names:
        raise ArchiveError(f"The archive holds no {_TAIL}.")
    elif adapted == "full" or note.kind == "vlm":
        whole.check(folder, note.kind, read)
    return ModelCard(
        id=note.id,
        kind=note.kind,
        task=note.task,
        family=note.family,
        method=note.method,
        base_model=note.base_model,
        base_fingerprint=note.base_fingerprint,
        labels=note.labels,
        files=[NOTE, *(one for one in names if one != NOTE)],
        data={"source": "uploaded"},
    )


def _json(path: Path) -> Any:
    """What the file holds; its depth is bounded, so that nobody who reads it later runs out of stack."""
    if path.stat().st_size > _MOST_JSON:
        raise ArchiveError(f"'{path.name[:100]}' is larger than {_MOST_JSON // _MIB} MiB.")
    try:
        return pydantic_core.from_json(path.read_bytes(), allow_inf_nan=False)
    except ValueError:
        raise ArchiveError(f"'{path.name[:100]}' is no readable JSON.") from None


def _note(read: Any) -> _Note:
    try:
        note = _Note.model_validate(read)
        if note.kind == "classifier":
            ClassifierNote.model_validate(read)
    except ValidationError as error:
        raise InvalidInputError(complaints(error.errors()[:5], f"{NOTE}: ")) from None
    if (note.task == "classification") != (note.kind == "classifier"):
        raise InvalidInputError(f"{NOTE}: task: a classifier's is classification, a vlm's vqa or caption.")
    return note


def _check_labels(note: _Note, settings: Settings) -> None:
    labels = note.labels or []
    if len(labels) > settings.max_model_labels:
        raise InvalidInputError(f"{NOTE}: labels: at most {settings.max_model_labels}.")
    named = {label_name(one, settings.max_text_chars, f"{NOTE}: labels") for one in labels}
    if len(named) < len(labels):
        raise InvalidInputError(f"{NOTE}: labels: two of them are the same.")


def _check_classifier(folder: Path, read: dict[str, Any]) -> None:
    adapted = read.get("adapted")
    stray = [name for kind, name in _PARTS.items() if kind != adapted and (folder / name).is_file()]
    if stray:
        raise ArchiveError(f"The archive holds {stray[0]}, of which the {NOTE} says nothing (`adapted`).")
    try:
        TrainedClassifier.load(folder)
    except ModelUnavailableError as error:
        raise InvalidInputError(error.detail) from None


def _check_adapter(folder: Path, config: Any, base: str) -> None:
    """An adapter whose two files name one base, so that neither leads elsewhere."""
    if not isinstance(config, dict):
        raise ArchiveError(f"The archive holds no readable {_ADAPTER}.")
    if config.get("base_model_name_or_path") != base or not (folder / _ADAPTER_WEIGHTS).is_file():
        raise ArchiveError(f"The {_ADAPTER} and {NOTE} of the archive do not go together.")
    from app.inference import adapters  # brings peft along, which most services never need

    try:
        adapters.read(folder)
    except ModelUnavailableError as error:
        raise InvalidInputError(error.detail) from None


def _check_tensors(path: Path) -> None:
    try:
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                kind = tensors.get_slice(name).get_dtype()
                if kind not in _TYPES:
                    raise InvalidInputError(
                        f"{path.name}: '{name[:100]}' is of type {kind}, which is not served."
                    )
                tensor = tensors.get_tensor(name)
                if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                    raise InvalidInputError(f"{path.name}: '{name[:100]}' holds numbers that are not finite.")
    except (SafetensorError, OSError):
        raise ArchiveError(f"'{path.name}' is no whole safetensors file.") from None
