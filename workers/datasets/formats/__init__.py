"""The formats a dataset may have, and which one a folder has. No reader opens an image or decides a split that its
files do not name.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.folders.layout import LabelsFrom, OwnSplit
from app.folders.walking import say_left_out
from app.jobs.errors import NotTrainableError
from app.methods.tasks import Task
from workers.datasets.formats.annotations import UNDERSTOOD, Survey, describe, others, survey
from workers.datasets.formats.coco import read_coco
from workers.datasets.formats.folders import find_layout, read_folders
from workers.datasets.formats.json_lines import read_json_lines
from workers.datasets.formats.json_rows import read_json_rows
from workers.datasets.formats.source import Boxes, Source
from workers.datasets.formats.tables import read_tables
from workers.datasets.formats.voc import read_voc
from workers.datasets.formats.yolo import read_yolo
from workers.datasets.naming import FileNames
from workers.datasets.records import Format, Found, Record, Refusal, Remark, files_below, is_image, to_plain

__all__ = ["Boxes", "detect", "read", "task_of"]


def detect(folder: Path) -> Format:
    """The format that the files have. Raises NotTrainableError where they have none, where annotations are not
    understood, and where there are annotations of several formats, one of which must be chosen.
    """
    with closing(FileNames(folder)) as known:
        found = survey(folder, known)
    kinds = [kind for kind, files in found.found.items() if files]
    if len(kinds) > 1:
        choices = "; ".join(f"format '{kind}' reads {describe(found.found[kind])}" for kind in kinds)
        raise NotTrainableError(
            f"The dataset has annotations in {len(kinds)} formats: choose one. {choices}."
        )
    if kinds:
        return kinds[0]
    if found.unknown:
        raise _not_understood(found)
    if any(is_image(name) and "/" in name for name in files_below(folder)):
        return "directory"
    unread = f" {describe(found.unread)} is of a kind that is not read." if found.unread else ""
    raise NotTrainableError(
        f"No known format was found: images in a folder a label, or {_list_formats()}.{unread}"
    )


def read(
    folder: Path,
    format_: Format,
    *,
    boxes: Boxes = "whole",
    labels_from: LabelsFrom = "auto",
    own_split: OwnSplit = "keep",
) -> Found:
    """Every record and refusal, in an order that depends on the files alone; texts hold what databases take.

    `labels_from` and `own_split` are those of `app.folders.layout`; a split that is not kept is named by no record.
    Raises NotTrainableError where the folder has nothing in this format, or folders that could mean several things.
    """
    left_out = say_left_out(folder)
    with closing(FileNames(folder)) as known:
        found = survey(folder, known)
        if format_ != "directory" and not found.found[format_]:
            if found.unknown:
                raise _not_understood(found)
            raise NotTrainableError(
                f"The dataset has no annotations in the format '{format_}' ({UNDERSTOOD[format_]})."
            )
        source = Source(
            folder, known, boxes, found.found[format_] if format_ != "directory" else (), own_split == "keep"
        )
        readers: dict[Format, Callable[[], Found]] = {
            "directory": lambda: read_folders(folder, find_layout(folder, labels_from, own_split)),
            "coco": lambda: read_coco(source),
            "jsonl": lambda: read_json_lines(source, found.infos),
            "json": lambda: read_json_rows(source, found.infos),
            "csv": lambda: read_tables(source),
            "voc": lambda: read_voc(source),
            "yolo": lambda: read_yolo(source),
        }
        examples = map(_plain, readers[format_]())
        yield from map(_without_split, examples) if own_split == "ignore" else examples
        yield from map(Remark, others(found, format_))
        for name, reason in found.unknown:
            if format_ == "directory":
                yield Remark(f"{name} was not read: the dataset was read as folders, as asked")
            else:
                yield Refusal(name, f"not understood as an annotation: '{reason}'")
        if format_ != "directory":
            yield from source.remarks()
        yield from map(Remark, left_out)


def _not_understood(found: Survey) -> NotTrainableError:
    shown = "; ".join(f"{name}: {reason}" for name, reason in found.unknown[:3])
    more = f"; and {len(found.unknown) - 3} more files" if len(found.unknown) > 3 else ""
    return NotTrainableError(
        f"The dataset's annotations are not understood ({shown}{more}). Understood are {_list_formats()}. "
        "With the format 'directory' its folders' names are the labels, and these files are not read."
    )


def _list_formats() -> str:
    return ", ".join(UNDERSTOOD.values())


def _without_split(found: Record | Refusal | Remark) -> Record | Refusal | Remark:
    return replace(found, split=None) if isinstance(found, Record) else found


def _plain(found: Record | Refusal | Remark) -> Record | Refusal | Remark:
    """With accents as one character with their letter, so that a label is one however it was typed; no text holds what
    databases do not take.
    """
    if not isinstance(found, Record):
        return found
    texts = {name: getattr(found, name) for name in ("label", "question", "answer")}
    changed: dict[str, Any] = {
        name: unicodedata.normalize("NFC", to_plain(text))
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
