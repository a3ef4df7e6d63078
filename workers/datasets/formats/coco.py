"""COCO annotation files: categories, boxes, captions, and questions with answers."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from app.jobs.errors import NotTrainableError
from workers.datasets.records import (
    MAX_TEXT_CHARACTERS,
    Box,
    Found,
    Record,
    Refusal,
    files_below,
    inside,
    split_named,
)

Boxes = Literal["whole", "crops"]
_MAX_JSON_BYTES = 1 << 30
_MAX_COORDINATE = 1e9
"""Pixels: no box of any image lies farther out."""


def read_coco(folder: Path, boxes: Boxes) -> Found:
    """Questions with answers, captions, or categories: of the whole image where it shows one, or a crop a box."""
    for name in files_below(folder):
        if name.lower().endswith(".json") and is_coco(folder / name):
            yield from _coco_file(folder, name, boxes)


def _coco_file(folder: Path, name: str, boxes: Boxes) -> Found:
    document = json.loads((folder / name).read_text(encoding="utf-8"))
    here = str(PurePosixPath(name).parent)
    words = PurePosixPath(name).stem.replace("-", "_").split("_")
    split = next((found for word in words if (found := split_named(word))), None)
    listed = document.get("categories")
    categories = {
        _key(one.get("id")): str(one.get("name", "")).strip()
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict)
    }
    notes: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
    for note in document["annotations"]:
        notes[_key(note.get("image_id"))].append(note)
    for image in document["images"]:
        shown = str(image.get("file_name", ""))
        stem = words[-1]
        path = inside(
            folder, shown, here, ".", "images", f"{here}/..", f"{here}/../images", stem, f"images/{stem}"
        )
        if path is None:
            yield Refusal(shown, "named in the annotations but not there")
            continue
        yield from _coco_image(path, split, notes.pop(_key(image.get("id")), []), categories, boxes)


def _coco_image(
    path: str, split: Any, notes: list[dict[str, Any]], categories: dict[Any, str], boxes: Boxes
) -> Found:
    asked = [texts for note in notes if (texts := _asked(note))]
    if asked:
        for question, answer in asked:
            yield Record(
                path, split, question=question[:MAX_TEXT_CHARACTERS], answer=answer[:MAX_TEXT_CHARACTERS]
            )
        return
    captions = [str(note["caption"]).strip() for note in notes if note.get("caption")]
    if captions:
        for caption in captions:
            yield Record(path, split, answer=caption[:MAX_TEXT_CHARACTERS])
        return
    labelled = [(categories.get(_key(note.get("category_id"))), note.get("bbox")) for note in notes]
    named = [(label, box) for label, box in labelled if label]
    if not named:
        yield Refusal(path, "has neither a caption nor a category")
    elif boxes == "crops":
        for label, box in named:
            if isinstance(box, list) and len(box) == 4 and all(map(_is_length, box)):
                yield Record(path, split, label=label, box=Box(*map(float, box)))
            else:
                yield Refusal(path, f"the box of '{label}' is not four numbers")
    elif len({label for label, _ in named}) > 1:
        yield Refusal(path, "shows several categories: use crops")
    else:
        yield Record(path, split, label=named[0][0])


def _asked(note: dict[str, Any]) -> tuple[str, str] | None:
    """The question and the answer of an annotation that has both."""
    question, answer = (
        str(note[name]).strip() if isinstance(note.get(name), str | int | float) else ""
        for name in ("question", "answer")
    )
    return (question, answer) if question and answer else None


def _key(value: Any) -> Any:
    """An id that can be looked up; None for what is none."""
    return value if isinstance(value, int | str) else None


def _is_length(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < _MAX_COORDINATE  # which NaN is not


def is_coco(path: Path) -> bool:
    """Whether a JSON file is COCO's, read whole: its lists may come in any order."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise NotTrainableError(
                f"'{path.name}' is larger than {_MAX_JSON_BYTES >> 20} MiB: use JSON lines."
            )
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and all(
        isinstance(document.get(key), list) and all(isinstance(one, dict) for one in document[key])
        for key in ("images", "annotations")
    )
