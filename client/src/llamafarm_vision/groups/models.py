"""Models: those that the service brings, those that were trained, and files of both."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from llamafarm_vision.flows import Progress, fetch, list_rows, send
from llamafarm_vision.groups.datasets import upload_call
from llamafarm_vision.groups.files import save_files
from llamafarm_vision.replies.jobs import Artifact, Dataset, Job
from llamafarm_vision.replies.models import Model
from llamafarm_vision.steps import Call, Emit, Flow, ItemFlow, drop_none, quote_segment
from llamafarm_vision.verbs import Carrier, Group, Listing, Verb


def _path(model: str | Model, *rest: str) -> str:
    name = model.id if isinstance(model, Model) else model
    return "/".join(["/v1/models", quote_segment(name), *rest])


def list_models() -> ItemFlow[Model]:
    """Every model: the default first, then those trained here, the newest first.

    Names that the service lists for other APIs' clients, which stand for a model or a collection, are left out.
    """
    listed = yield from send(Call("GET", "/v1/models", is_repeatable=True))
    for row in listed["data"]:
        if row.get("alias_of") is None:
            yield Emit(Model.model_validate(row))


def get_model(model: str) -> Flow[Model]:
    """One model, by its id or an alias."""
    return fetch(Call("GET", _path(model), is_repeatable=True), Model)


def delete_model(model: str | Model) -> Flow[None]:
    """Forget a trained model, its files and what it takes in memory."""
    yield from send(Call("DELETE", _path(model), is_repeatable=True))


def evaluate_model(
    model: str | Model,
    *,
    dataset: str | Dataset | None = None,
    collection: str | None = None,
    split: str | None = None,
    metrics: Sequence[str] | None = None,
) -> Flow[Job]:
    """Judge a model on examples it was not trained on; the job's `result` has the figures, chance beside them.

    Args:
        dataset: Judge by this dataset, or by a `collection`; by its own held-out examples if both are empty.
        split: `test`, `validation`, `train` or `all`.
    """
    body = drop_none(
        dataset=dataset.id if isinstance(dataset, Dataset) else dataset,
        collection=collection,
        split=split,
        metrics=None if metrics is None else list(metrics),
    )
    return fetch(Call("POST", _path(model, "evaluate"), json=body), Job)


def export_model(model: str | Model, format: str = "onnx", *, text_encoder: bool | None = None) -> Flow[Job]:
    """Write a model as files that other programs load, `onnx` or `safetensors`; `jobs.download` saves them."""
    body = drop_none(format=format, text_encoder=text_encoder)
    return fetch(Call("POST", _path(model, "export"), json=body), Job)


def list_files(model: str | Model) -> ItemFlow[Artifact]:
    """A trained model's files and whatever was made of it since: evaluations, exports."""
    return list_rows(_path(model, "artifacts"), Artifact.model_validate)


def download_model(
    model: str | Model,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Flow[Path]:
    """Save a trained model's files in a folder, which appears whole or stays as it was; each file is compared.

    Args:
        overwrite: Replace what the folder holds.
        progress: Called with the bytes received so far and all bytes.
    """
    page = yield from send(Call("GET", _path(model, "artifacts"), is_repeatable=True))
    files = [Artifact.model_validate(row) for row in page["data"]]
    return (yield from save_files(files, Path(folder), overwrite=overwrite, progress=progress))


def upload_model(source: str | os.PathLike[str], *, progress: Progress | None = None) -> Flow[Model]:
    """Bring a model that was trained elsewhere: the folder that `download` saved, or an archive of it."""
    call = yield from upload_call("/v1/models", source, progress, {})
    return (yield from fetch(call, Model))


class Models(Group[Carrier]):
    """Encoders, classifiers and vision-language models."""

    list = Listing(list_models)
    get = Verb(get_model)
    delete = Verb(delete_model)
    evaluate = Verb(evaluate_model)
    export = Verb(export_model)
    files = Listing(list_files)
    download = Verb(download_model)
    upload = Verb(upload_model)
