"""Datasets of a few annotations, written for one test and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.datasets import formats
from workers.datasets.records import Format, Record, Refusal, Remark

LABELS = {"images/0.jpg": "apple", "images/1.jpg": "box"}


def put(folder: Path, files: Mapping[str, Any]) -> Path:
    """Files of text, bytes, or whatever becomes JSON, and two images."""
    for name, content in {"images/0.jpg": b"x", "images/1.jpg": b"x", **files}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, str | bytes):
            content = json.dumps(content)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def read(
    folder: Path, files: Mapping[str, Any], *, boxes: formats.Boxes = "whole", format_: Format | None = None
) -> tuple[list[Record], list[Refusal], list[str]]:
    put(folder, files)
    found = list(formats.read(folder, format_ or formats.detect(folder), boxes=boxes))
    return (
        [entry for entry in found if isinstance(entry, Record)],
        [entry for entry in found if isinstance(entry, Refusal)],
        [entry.sentence for entry in found if isinstance(entry, Remark)],
    )


def labels(records: list[Record]) -> dict[str, str | None]:
    return {record.path: record.label for record in records}


def coco(**changed: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": number, "file_name": f"{number}.jpg", "width": 40, "height": 30} for number in range(2)
        ],
        "annotations": [
            {"id": number, "image_id": number, "category_id": number, "bbox": [1, 2, 3, 4]}
            for number in range(2)
        ],
        "categories": [{"id": 0, "name": "apple"}, {"id": 1, "name": "box"}],
        **changed,
    }
