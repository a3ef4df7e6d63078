"""Unpacks an uploaded model and looks at every file of it, in a bounded child, before anything is kept or loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app.errors import InvalidInputError
from app.http.names import MODEL_NAME, label_name
from app.http.wrong_fields import complaints
from app.inference.adapter_config import check_config, check_weights
from app.inference.chat_templates import check_template, render
from app.inference.errors import ChatTemplateError, ModelUnavailableError
from app.methods.params import MAX_QUESTION_CHARS
from app.models.classifiers import NOTE, WEIGHTS, ClassifierNote, TrainedClassifier
from app.models.model_checks import json_files, processor, tokenizer, whole
from app.models.model_checks.requests import CheckedModel, CheckRequest
from app.models.model_checks.tensors import check_tensors, read_shapes
from app.storage.archive_entries import ArchiveLimits
from app.storage.archives import unpack
from app.storage.errors import ArchiveError
from app.storage.files import is_key

_MIB = 1024 * 1024
_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".md", ".png", ".jinja", ".model"})
_TEXTS = frozenset({".txt", ".md", ".jinja"})
_ADAPTER, _ADAPTER_WEIGHTS, _TAIL = "adapter_config.json", "adapter_model.safetensors", "tail.safetensors"
_PARTS = {"peft": _ADAPTER, "tail": _TAIL, "full": "config.json"}

_TURNS = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "A ball."}]},
]
"""What every chat template is tried with."""

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


def check_request(**fields: Any) -> dict[str, Any]:
    """`check_model`, as a bounded child is asked for it: a `CheckRequest` in, a `CheckedModel` out, both as JSON."""
    return check_model(CheckRequest.model_validate(fields)).model_dump(mode="json")


def check_model(request: CheckRequest) -> CheckedModel:
    """Unpack the archive and check every file of it.

    Raises ArchiveError, ArchiveTooLargeError, OverloadedError, InvalidInputError naming what is wrong.
    """
    folder = request.folder
    limits = ArchiveLimits(request.entries, request.ratio, request.unpacked_bytes, request.min_free_mb)
    unpack(request.archive, folder, limits, is_allowed=is_key)
    inner = [path for path in folder.iterdir() if path.is_dir()]
    if not (folder / NOTE).is_file() and len(inner) == 1 and (inner[0] / NOTE).is_file():
        folder = inner[0]
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    read = _read_files(folder, names)
    note = _note(read[NOTE])
    if note.labels is not None:
        _check_labels(note, request)
    if note.kind == "classifier":
        weights = folder / WEIGHTS
        if weights.is_file() and weights.stat().st_size > request.max_head_bytes:
            raise InvalidInputError(f"{WEIGHTS}: it is larger than {request.max_head_bytes // _MIB} MiB.")
    tensors = [name for name in names if name.endswith(".safetensors")]
    for name in tensors:
        check_tensors(folder / name)
    adapted = read[NOTE].get("adapted")
    if note.kind == "classifier":
        _check_classifier(folder, read[NOTE])
    elif not {_ADAPTER, "config.json"} & set(names):
        raise ArchiveError(
            f"The archive holds neither an adapter ({_ADAPTER}) nor a whole model (config.json)."
        )
    if _ADAPTER in names or adapted == "peft":
        _check_adapter(folder, read.get(_ADAPTER), note)
    elif adapted == "tail" and _TAIL not in names:
        raise ArchiveError(f"The archive holds no {_TAIL}.")
    elif adapted == "full" or note.kind == "vlm":
        whole.check_whole(folder, note.kind, read, tensors)
    return CheckedModel(
        folder=folder,
        note={
            **note.model_dump(exclude={"format", "tasks", "question"}),
            "files": [NOTE, *(name for name in names if name != NOTE)],
        },
        is_changed=adapted is not None or note.kind == "vlm",
        dim=read[NOTE].get("dim") if note.kind == "classifier" else None,
    )


def _read_files(folder: Path, names: list[str]) -> dict[str, Any]:
    """Every JSON file, each of its kind within bounds."""
    if NOTE not in names:
        raise ArchiveError(f"The archive holds no readable {NOTE}: send a folder that a training job wrote.")
    for name in names:
        suffix = Path(name).suffix.lower()
        if suffix not in _SUFFIXES:
            raise ArchiveError(
                f"'{name[:100]}' is of no kind that a model is made of: only safetensors hold weights."
            )
        if suffix in _TEXTS and (folder / name).stat().st_size > json_files.MAX_TEXT_FILE_BYTES:
            raise ArchiveError(f"'{name[:100]}' is larger than {json_files.MAX_TEXT_FILE_BYTES // _MIB} MiB.")
    read = json_files.read_json_files(folder, [name for name in names if name.lower().endswith(".json")])
    if tokenizer.FILE in read:
        tokenizer.check_tokenizer(read[tokenizer.FILE])
    if processor.TOKENIZER in read:
        processor.check_tokenizer_config(processor.TOKENIZER, read[processor.TOKENIZER])
    processor.check_added_tokens(read)
    if processor.GENERATION in read:
        processor.check_generation(processor.GENERATION, read[processor.GENERATION])
    _check_templates(folder, names, read)
    for name in processor.PROCESSORS:
        if name in read:
            processor.check_processor(name, read[name])
    return read


def _check_templates(folder: Path, names: list[str], read: dict[str, Any]) -> None:
    """Every chat template, wherever a model may have one."""
    texts = [
        (name, (folder / name).read_text("utf-8", "replace")) for name in names if name.endswith(".jinja")
    ]
    for name in (processor.TOKENIZER, "chat_template.json", *processor.PROCESSORS):
        content = read.get(name)
        found = content.pop("chat_template", None) if isinstance(content, dict) else None
        several = found if isinstance(found, list) else [found]
        for template in several:
            text = template.get("template") if isinstance(template, dict) else template
            if isinstance(text, str):
                texts.append((name, text))
            elif text is not None:
                raise InvalidInputError(f"{name[:100]}: chat_template is no text.")
    for name, text in texts:
        try:
            check_template(text)
            for answering in (True, False):
                render(text, _TURNS, {}, answering=answering, name=name[:100])
        except ValueError as error:
            raise InvalidInputError(f"{name[:100]}: the chat template is not served: {error}.") from None
        except ChatTemplateError as error:
            raise InvalidInputError(f"{name[:100]}: {error.detail}") from None


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


def _check_labels(note: _Note, request: CheckRequest) -> None:
    labels = note.labels or []
    if len(labels) > request.max_labels:
        raise InvalidInputError(f"{NOTE}: labels: at most {request.max_labels}.")
    named = {label_name(label, request.max_label_chars, f"{NOTE}: labels") for label in labels}
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


def _check_adapter(folder: Path, config: Any, note: _Note) -> None:
    """An adapter whose two files name one base, so that neither leads elsewhere, and that is served."""
    if not isinstance(config, dict):
        raise ArchiveError(f"The archive holds no readable {_ADAPTER}.")
    if config.get("base_model_name_or_path") != note.base_model or not (folder / _ADAPTER_WEIGHTS).is_file():
        raise ArchiveError(f"The {_ADAPTER} and {NOTE} of the archive do not go together.")
    try:
        check_config(config, note.id)
        check_weights(config, read_shapes(folder / _ADAPTER_WEIGHTS), note.id)
    except ModelUnavailableError as error:
        raise InvalidInputError(f"{_ADAPTER}: {error.detail}") from None
