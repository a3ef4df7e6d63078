"""What a dataset's files say: one record an example, and one refusal for each that cannot be one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from app.folders.splits import Split
from app.folders.suffixes import IMAGE_SUFFIXES
from app.folders.walking import Walk

Format = Literal["directory", "coco", "jsonl", "json", "csv", "voc", "yolo"]
MAX_TEXT_CHARACTERS = 20_000
"""Of a label, question, answer or caption; the rest is cut off."""


@dataclass(frozen=True)
class Box:
    """A region of an image, in pixels of an image that was `drawn_on` wide and high."""

    left: float
    top: float
    width: float
    height: float
    drawn_on: tuple[float, float] | None = None
    """Width and height that the annotation names, `SHARES` where the box is in shares of them; None: not named."""


SHARES = (1.0, 1.0)


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
    count: int | None = None
    """Where set, equal sentences are stated once, with the sum of their counts."""


Found = Iterator[Record | Refusal | Remark]


def files_below(folder: Path) -> Iterator[str]:
    """Relative paths of all files, folder by folder in the order of their names, without hidden ones and what systems
    and archivers add.
    """
    return iter(Walk(folder))


def to_plain(text: str) -> str:
    """Without NUL characters and halves of surrogate pairs, which JSON can hold and databases cannot."""
    return text.replace("\0", "").encode(errors="replace").decode()


def is_image(path: str) -> bool:
    """By its name; what the bytes are is found out when it is read."""
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES
