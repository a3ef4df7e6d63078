"""What a dataset's files say: one record an example, and one refusal for each that cannot be one.

Knows paths inside the dataset's folder and texts; opens no image.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from app.media.suffixes import IMAGE_SUFFIXES
from workers.shared.examples import Split

Format = Literal["directory", "coco", "jsonl"]
MAX_TEXT_CHARACTERS = 20_000
"""Of a label, question, answer or caption; the rest is cut off."""
FORMATS: tuple[Format, ...] = ("directory", "coco", "jsonl")

_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Box:
    """A region in pixels of the upright image."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Record:
    """One example as the files tell it; `path` is relative to the dataset's folder."""

    path: str
    split: Split | None = None
    label: str | None = None
    question: str | None = None
    answer: str | None = None
    box: Box | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a file or a line is no example."""

    path: str
    reason: str


@dataclass(frozen=True)
class Remark:
    """A sentence about the whole dataset that its summary states: a guess, or what was left aside."""

    sentence: str


Found = Iterator[Record | Refusal | Remark]


def split_named(name: str) -> Split | None:
    """The split that a folder's, file's or field's name stands for, such as `val` or `train2017`."""
    return _SPLITS.get(name.strip().lower().rstrip("0123456789_-"))


def files_below(folder: Path, below: str = "") -> Iterator[str]:
    """Relative paths of all files, folder by folder in the order of their names, without hidden ones and what
    archivers of other systems add. Only one folder's names are held at a time.
    """
    with os.scandir(folder / below) as found:
        entries = sorted((one.name, one.is_dir(follow_symlinks=False)) for one in found)
    for name, is_folder in entries:
        if _is_litter(name):
            continue
        if is_folder:
            yield from files_below(folder, f"{below}{name}/")
        else:
            yield f"{below}{name}"


def inside(folder: Path, name: str, *bases: str) -> str | None:
    """The relative path of a file that a dataset names, looked for below `bases` in order; None where there is
    none or where the name leads out of the folder.
    """
    root = folder.resolve()
    for base in bases:
        try:
            candidate = (root / base / name).resolve()
            if candidate.is_relative_to(root) and candidate.is_file():
                return candidate.relative_to(root).as_posix()
        except (OSError, ValueError):  # too long, or with a NUL in it: no file has such a name
            return None
    return None


def is_image(path: str) -> bool:
    """By its name; what the bytes are is found out when it is read."""
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES


def _is_litter(name: str) -> bool:
    return name.startswith((".", "__MACOSX")) or name == "Thumbs.db"
