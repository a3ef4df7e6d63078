"""Datasets: send a folder or an archive, have it checked and split."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from llamafarm_vision.flows import Progress, download, exchange, fetch, list_rows, send
from llamafarm_vision.packing import open_upload
from llamafarm_vision.replies.jobs import Dataset, DatasetImage, Job
from llamafarm_vision.steps import Block, Call, Flow, ItemFlow, drop_none, quote_segment
from llamafarm_vision.transports import CONNECT_TIMEOUT_SECONDS
from llamafarm_vision.verbs import Carrier, Group, Listing, Verb

UPLOAD_TIMEOUT = httpx.Timeout(None, connect=CONNECT_TIMEOUT_SECONDS)
"""What is sent may take as long as it takes."""


def _path(dataset: str | Dataset, *rest: str) -> str:
    name = dataset.id if isinstance(dataset, Dataset) else dataset
    return "/".join(["/v1/datasets", quote_segment(name), *rest])


def upload_call(
    path: str, source: str | os.PathLike[str], progress: Progress | None, params: dict[str, Any]
) -> Flow[Call]:
    """The call that sends a folder or an archive file; raises as `open_upload`."""
    upload = yield Block(lambda: open_upload(source))
    return Call(
        "POST",
        path,
        params=params,
        body=upload.report(progress),
        headers={"Content-Type": upload.content_type},
        timeout=UPLOAD_TIMEOUT,
        is_repeatable=True,
    )


def upload_dataset(
    source: str | os.PathLike[str],
    *,
    name: str | None = None,
    format: str | None = None,
    boxes: str | None = None,
    labels_from: str | None = None,
    own_split: str | None = None,
    split: Sequence[float] | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Flow[Dataset]:
    """Send a folder or an archive file; a worker checks each image, splits them and reports what it refused.

    `vision.jobs.wait(dataset.job)` waits for that. A folder is packed while it is sent.

    Args:
        name: What to call it; the folder's name if empty.
        format: `directory`, `coco`, `jsonl`, `json`, `csv`, `voc` or `yolo`; found out if empty.
        boxes: `whole` images or `crops` of each annotated box.
        labels_from: Which folder names the label: `top` or `parent`; found out if empty.
        own_split: `keep` the folders that split the examples, or `ignore` them.
        split: Parts for train, validation and test, such as `(0.8, 0.1, 0.1)`.
        progress: Called with the bytes sent so far and all bytes.
    """
    params = drop_none(
        name=name or Path(source).resolve().stem or None,
        format=format,
        boxes=boxes,
        labels_from=labels_from,
        own_split=own_split,
        split=None if split is None else ",".join(map(str, split)),
        seed=seed,
    )
    call = yield from upload_call("/v1/datasets", source, progress, params)
    return (yield from fetch(call, Dataset))


def make_dataset(
    collection: str,
    *,
    name: str | None = None,
    task: str | None = None,
    split: Sequence[float] | None = None,
    seed: int | None = None,
) -> Flow[Dataset]:
    """Make a dataset of what a collection was taught, as it is now; `task` is `classification` or `vqa`."""
    parts = None if split is None else list(split)
    body = drop_none(collection=collection, name=name, task=task, split=parts, seed=seed)
    return fetch(Call("POST", "/v1/datasets/from-collection", json=body), Dataset)


def teach_dataset(
    dataset: str | Dataset, collection: str, *, splits: Sequence[str] | None = None
) -> Flow[Job]:
    """Teach a collection the dataset's labelled examples; `splits` are those of `train`, `validation`, `test`."""
    body = drop_none(collection=collection, splits=None if splits is None else list(splits))
    return fetch(Call("POST", _path(dataset, "teach"), json=body), Job)


def list_datasets() -> ItemFlow[Dataset]:
    """Every dataset, the newest first."""
    return list_rows("/v1/datasets", Dataset.model_validate)


def get_dataset(dataset: str | Dataset) -> Flow[Dataset]:
    """One dataset: its balance, sizes, splits and what was refused."""
    return fetch(Call("GET", _path(dataset), is_repeatable=True), Dataset)


def delete_dataset(dataset: str | Dataset) -> Flow[None]:
    """Forget a dataset and the images that nothing else shows; models that were trained on it stay."""
    yield from send(Call("DELETE", _path(dataset), is_repeatable=True))


def list_dataset_images(
    dataset: str | Dataset, *, label: str | None = None, split: str | None = None
) -> ItemFlow[DatasetImage]:
    """A dataset's examples, by image; `label` and `split` (`train`, `validation` or `test`) show only their own."""
    return list_rows(_path(dataset, "images"), DatasetImage.model_validate, label=label, split=split)


def get_dataset_image(dataset: str | Dataset, image_sha256: str, *, size: int | None = None) -> Flow[bytes]:
    """A JPEG of one image of a dataset; `size` is the longer side in pixels."""
    path = _path(dataset, "images", quote_segment(image_sha256))
    content: bytes = (
        yield from exchange(Call("GET", path, params=drop_none(size=size), is_repeatable=True))
    ).content
    return content


def save_report(dataset: str | Dataset, file: str | os.PathLike[str]) -> Flow[Path]:
    """Save what was refused, as JSON lines: a file and its reason on each."""
    return download(Call("GET", _path(dataset, "report"), is_repeatable=True), Path(file))


def save_manifest(dataset: str | Dataset, file: str | os.PathLike[str]) -> Flow[Path]:
    """Save the list of the examples, as JSON lines: image (SHA-256), split and texts on each."""
    return download(Call("GET", _path(dataset, "manifest"), is_repeatable=True), Path(file))


class Datasets(Group[Carrier]):
    """Checked, split examples to train on."""

    upload = Verb(upload_dataset)
    from_collection = Verb(make_dataset)
    teach = Verb(teach_dataset)
    list = Listing(list_datasets)
    get = Verb(get_dataset)
    delete = Verb(delete_dataset)
    images = Listing(list_dataset_images)
    image = Verb(get_dataset_image)
    save_report = Verb(save_report)
    save_manifest = Verb(save_manifest)
