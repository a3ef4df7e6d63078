"""The formats a dataset may have, and which one a folder has. No reader opens an image or decides a split that its
files do not name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from app.jobs.errors import NotTrainableError
from app.methods.tasks import Task
from workers.datasets.formats.coco import Boxes, is_coco, read_coco
from workers.datasets.formats.folders import read_folders
from workers.datasets.formats.json_lines import read_json_lines
from workers.datasets.records import Format, Found, Record, Refusal, Remark, files_below, is_image

__all__ = ["Boxes", "detect", "read", "task_of"]


def detect(folder: Path) -> Format:
    """The format that the files have; raises NotTrainableError where they have none."""
    if any(name.lower().endswith(".jsonl") for name in files_below(folder)):
        return "jsonl"
    if any(is_coco(folder / name) for name in files_below(folder) if name.lower().endswith(".json")):
        return "coco"
    if any(is_image(name) and "/" in name for name in files_below(folder)):
        return "directory"
    raise NotTrainableError(
        "No known format was found: images in a folder a label, a COCO annotation file (.json), or JSON lines "
        "(.jsonl) with an image and a label, caption or question on each line."
    )


def read(folder: Path, format_: Format, *, boxes: Boxes = "whole") -> Found:
    """Every record and refusal, in an order that depends on the files alone; texts hold what databases take."""
    readers: dict[Format, Callable[[], Found]] = {
        "directory": lambda: read_folders(folder),
        "coco": lambda: read_coco(folder, boxes),
        "jsonl": lambda: read_json_lines(folder),
    }
    return map(_plain, readers[format_]())


def _plain(found: Record | Refusal | Remark) -> Record | Refusal | Remark:
    """Without NUL characters and halves of surrogate pairs, which JSON can hold and UTF-8 text cannot."""
    if not isinstance(found, Record):
        return found
    texts = {name: getattr(found, name) for name in ("label", "question", "answer")}
    changed = {
        name: text.replace("\0", "").encode(errors="replace").decode()
        for name, text in texts.items()
        if text is not None and ("\0" in text or not text.isascii())
    }
    return replace(found, **changed) if changed else found


def task_of(records: Iterator[Record]) -> Task:
    """What the examples teach, by their texts; raises NotTrainableError for none or a mixture."""
    tasks: set[Task] = set()
    for record in records:
        tasks.add("classification" if record.label is not None else "vqa" if record.question else "caption")
    if len(tasks) != 1:
        raise NotTrainableError(
            "The dataset holds no examples that can be used."
            if not tasks
            else f"The dataset mixes {' and '.join(sorted(tasks))}: one dataset teaches one thing."
        )
    return tasks.pop()
