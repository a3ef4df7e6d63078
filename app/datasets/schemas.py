"""Requests and replies of `/datasets`."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.http.bodies import Page, with_example
from app.methods.tasks import Task

_DATASET: dict[str, Any] = {
    "id": "5b0c7f0e-3c8a-4c57-9f2e-0d6f6a1c9d10",
    "name": "mugs",
    "state": "ready",
    "task": "classification",
    "format": "directory",
    "summary": {
        "examples": 2000,
        "images": 2000,
        "bytes": 61440000,
        "median_side": 224,
        "splits": {"train": 1600, "validation": 200, "test": 200},
        "labels": {"mug": {"train": 800, "validation": 100, "test": 100}},
        "imbalance": 1.0,
        "refused": {"not an image by its name": 3},
        "refused_total": 3,
        "duplicates": 12,
        "images_on_several_sides": 0,
        "own_split": False,
        "remarks": ["12 classes from folders below flower_photos", "LICENSE.txt ignored: no image"],
    },
    "error": None,
    "job": "0f3a9c1e-5b7d-4468-8c57-9f2e0d6f6a1c",
    "created_at": "2026-01-31T12:00:00Z",
}
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_IMAGE: dict[str, Any] = {
    "image_sha256": _SHA256,
    "split": "train",
    "label": "mug",
    "question": None,
    "answer": None,
    "image": f"/v1/datasets/{_DATASET['id']}/images/{_SHA256}",
}


class DatasetInfo(BaseModel):
    """A dataset and what preparing it found."""

    model_config = with_example(_DATASET)

    id: uuid.UUID
    name: str
    state: Literal["preparing", "ready", "failed"]
    task: Task | None = Field(description="What its examples teach; null until it is ready.")
    format: str = Field(
        description="`directory`, `coco`, `jsonl`, `json`, `csv`, `voc`, `yolo` or `collection`; `auto` until it "
        "is found out."
    )
    summary: dict[str, Any] | None = Field(
        description="Examples by split and label, sizes, duplicates, what was guessed (`remarks`), and what was"
        " refused by reason; of a dataset that failed, where anything was read."
    )
    error: dict[str, Any] | None = Field(description="Why it could not be prepared.")
    job: uuid.UUID | None = Field(description="The job that prepares it; follow it for progress.")
    created_at: datetime


class DatasetList(Page[DatasetInfo]):
    """A page of datasets, the newest first."""

    model_config = with_example({"data": [_DATASET], "next": None})


class DatasetImageInfo(BaseModel):
    """One example of a dataset."""

    model_config = with_example(_IMAGE)

    image_sha256: str
    split: str = Field(description="`train`, `validation` or `test`.")
    label: str | None = Field(description="Null where the dataset's examples are questions or captions.")
    question: str | None
    answer: str | None = Field(description="To the question; a caption where there is none.")
    image: str = Field(description="Where its thumbnail is.")


class DatasetImageList(Page[DatasetImageInfo]):
    """A page of a dataset's examples, by image."""

    model_config = with_example({"data": [_IMAGE], "next": None})
