"""The formats a dataset may have: a folder a class, COCO, JSON lines; and which one a folder has.

Knows how each names its images and texts; decides nothing about splits and opens no image.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from app.jobs.errors import NotTrainableError
from app.methods.tasks import Task
from workers.datasets.records import (
    Box,
    Format,
    Found,
    Record,
    Refusal,
    files_below,
    inside,
    is_image,
    split_named,
)

Boxes = Literal["whole", "crops"]
_LONGEST_LINE = 1 << 20
_LARGEST_JSON = 1 << 30
_MOST_TEXT = 20_000
_FARTHEST = 1e9
"""Pixels: no box of any image lies farther out."""


def detect(folder: Path) -> Format:
    """The format that the files have; raises NotTrainableError where they have none."""
    if any(name.lower().endswith(".jsonl") for name in files_below(folder)):
        return "jsonl"
    if any(_is_coco(folder / name) for name in files_below(folder) if name.lower().endswith(".json")):
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
        "directory": lambda: _directory(folder),
        "coco": lambda: _coco(folder, boxes),
        "jsonl": lambda: _json_lines(folder),
    }
    return map(_plain, readers[format_]())


def _plain(found: Record | Refusal) -> Record | Refusal:
    """Without NUL characters and halves of surrogate pairs, which JSON can hold and UTF-8 text cannot."""
    if isinstance(found, Refusal):
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


def _directory(folder: Path) -> Found:
    """`[split/]label/.../image`; one folder around everything is skipped."""
    tops = {name.split("/", 1)[0] for name in files_below(folder)}
    around = len(tops) == 1 and split_named(next(iter(tops))) is None
    depth = int(around and all(name.count("/") >= 2 for name in files_below(folder)))
    paths = ((name, name.split("/")[depth:]) for name in files_below(folder))
    splits = any(len(parts) > 2 and split_named(parts[0]) for _, parts in paths)
    for name in files_below(folder):
        parts = name.split("/")[depth:]
        if not is_image(name):
            yield Refusal(name, "not an image by its name")
            continue
        split = split_named(parts[0]) if splits else None
        labels = parts[1:-1] if split else parts[:-1]
        if not labels or not labels[0].strip():
            yield Refusal(name, "in no label's folder")
            continue
        yield Record(name, split, label=labels[0].strip())


def _coco(folder: Path, boxes: Boxes) -> Found:
    """Questions with answers, captions, or categories: of the whole image where it shows one, or a crop a box."""
    for name in files_below(folder):
        if name.lower().endswith(".json") and _is_coco(folder / name):
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
            yield Record(path, split, question=question[:_MOST_TEXT], answer=answer[:_MOST_TEXT])
        return
    captions = [str(note["caption"]).strip() for note in notes if note.get("caption")]
    if captions:
        for caption in captions:
            yield Record(path, split, answer=caption[:_MOST_TEXT])
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
    return isinstance(value, int | float) and abs(value) < _FARTHEST  # which NaN is not


def _json_lines(folder: Path) -> Found:
    """Each line: `image` beside `label`, `caption`, `question` and `answer`, or `messages`."""
    for name in files_below(folder):
        if not name.lower().endswith(".jsonl"):
            continue
        fallback = split_named(PurePosixPath(name).stem)
        here = str(PurePosixPath(name).parent)
        with (folder / name).open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(_bounded(lines), 1):
                if line.strip():
                    yield from _json_line(folder, here, f"{name}:{number}", line, fallback)


def _bounded(lines: IO[str]) -> Iterator[str]:
    """Lines; one that is longer than any example comes in pieces, none of which is valid JSON."""
    while line := lines.readline(_LONGEST_LINE):
        yield line


def _json_line(folder: Path, here: str, place: str, line: str, fallback: Any) -> Found:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        yield Refusal(place, "not a JSON object")
        return
    image = row.get("image") or row.get("image_path") or row.get("file_name")
    path = inside(folder, image, here, ".", "images") if isinstance(image, str) else None
    if path is None:
        yield Refusal(place, f"its image '{str(image)[:100]}' is not there" if image else "it names no image")
        return
    split = split_named(str(row["split"])) if row.get("split") else fallback
    found = list(_texts(row))
    if not found:
        yield Refusal(place, "it has no label, caption, question with answer, or messages")
    for texts in found:
        label, question, answer = (
            texts[name][:_MOST_TEXT] if name in texts else None for name in ("label", "question", "answer")
        )
        yield Record(path, split, label, question, answer)


def _texts(row: dict[str, Any]) -> Iterator[dict[str, str]]:
    def text(name: str) -> str:
        value = row.get(name)
        return str(value).strip() if isinstance(value, str | int | float) else ""

    if text("label"):
        yield {"label": text("label")}
    elif text("question") and text("answer"):
        yield {"question": text("question"), "answer": text("answer")}
    elif text("caption"):
        yield {"answer": text("caption")}
    else:
        yield from _turns(row.get("messages") or row.get("conversations"))


def _turns(messages: Any) -> Iterator[dict[str, str]]:
    """Question and answer from each pair of turns, in OpenAI's words or in LLaVA's."""
    question = ""
    for message in messages if isinstance(messages, list) else []:
        if not isinstance(message, dict):
            continue
        who = str(message.get("role") or message.get("from") or "")
        said = _said(message.get("content", message.get("value")))
        if who in ("user", "human"):
            question = said
        elif who in ("assistant", "gpt") and question and said:
            yield {"question": question, "answer": said}
            question = ""


def _said(content: Any) -> str:
    if isinstance(content, list):
        parts = [
            one.get("text", "") for one in content if isinstance(one, dict) and one.get("type") == "text"
        ]
        content = " ".join(str(part) for part in parts)
    return str(content or "").replace("<image>", "").strip()


def _is_coco(path: Path) -> bool:
    """Whether a JSON file is COCO's, read whole: its lists may come in any order."""
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise NotTrainableError(
                f"'{path.name}' is larger than {_LARGEST_JSON >> 20} MiB: use JSON lines."
            )
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and all(
        isinstance(document.get(key), list) and all(isinstance(one, dict) for one in document[key])
        for key in ("images", "annotations")
    )
