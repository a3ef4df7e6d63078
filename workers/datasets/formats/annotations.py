"""Which files of a dataset are annotations: understood in which format, or not understood and why they could be some.

A file that names images, or has the keys of annotation formats, is one; every other text beside the images is none.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from workers.datasets.formats import fields as names
from workers.datasets.formats.columns import AmbiguousColumnsError
from workers.datasets.formats.conversations import read_conversation
from workers.datasets.formats.json_rows import FIFTYONE, read_small_json
from workers.datasets.formats.tables import find_layout
from workers.datasets.formats.voc import is_voc_list, looks_like_voc
from workers.datasets.formats.yolo import looks_like_yolo
from workers.datasets.json_stream import MalformedJsonError, stream_json
from workers.datasets.naming import FileNames
from workers.datasets.records import Format, files_below
from workers.datasets.text_files import find_encoding, read_first_lines

UNDERSTOOD: dict[Format, str] = {
    "coco": "COCO JSON (.json)",
    "jsonl": "JSON lines (.jsonl) with an image and a label, caption, question with answer, or messages on each",
    "json": "a JSON list of such objects",
    "csv": "a table (.csv, .tsv) with a column of image names and one of labels, captions, or questions and answers",
    "voc": "Pascal VOC (.xml)",
    "yolo": "YOLO (.txt and data.yaml)",
}
_JSON, _LINES = (".json",), (".jsonl", ".ndjson", ".jsonlines")
_TABLES = (".csv", ".tsv")
UNREAD = (
    ".parquet",
    ".arrow",
    ".xlsx",
    ".xls",
    ".ods",
    ".mat",
    ".pkl",
    ".npz",
    ".h5",
    ".tfrecord",
    ".record",
)
"""Files that often hold annotations or whole datasets, in formats that are not read."""
INFO = "dataset_info.json"
"""LLaMA-Factory's description of files beside it."""
_KEYS = frozenset({"annotations", "images", "categories", "questions", "captions", "shapes", "samples"})
_SAMPLE_PARTS = 50
_SAMPLE_LINES = 20
_HEAD_CHARACTERS = 1 << 16
_LONG_LINE_CHARACTERS = 1 << 19
"""From which on a line may have been cut when it was looked at."""
_MIN_IMAGE_SHARE = 0.5


@dataclass
class Survey:
    """What was found in a dataset's folder."""

    found: defaultdict[Format, list[str]] = field(default_factory=lambda: defaultdict(list))
    unknown: list[tuple[str, str]] = field(default_factory=list)
    """Files that could be annotations, and why they are not understood."""
    unread: list[str] = field(default_factory=list)
    infos: dict[str, Any] = field(default_factory=dict)
    """Entries of `dataset_info.json` by the file they describe."""


def survey(folder: Path, known: FileNames) -> Survey:
    """Look at each file of a dataset that may hold annotations."""
    result = Survey()
    infos = [name for name in files_below(folder) if PurePosixPath(name).name.lower() == INFO]
    infos = [name for name in infos if _take_info(folder, name, result)]
    for name in files_below(folder):
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in UNREAD:
            result.unread.append(name)
        if reason := _unusable(name):
            kind: tuple[Format] | str | None = reason
        elif suffix in _JSON + _LINES:
            kind = None if name in infos else _json_kind(folder / name, _Rows(known, result.infos.get(name)))
        else:
            kind = _kind(folder / name, name, suffix, known)
        if isinstance(kind, str):
            result.unknown.append((name, kind))
        elif kind is not None:
            result.found[kind[0]].append(name)
    if result.found["yolo"]:  # lists of a split's images belong to it
        result.unknown = [(name, why) for name, why in result.unknown if not name.lower().endswith(".txt")]
    return result


def _unusable(name: str) -> str | None:
    """Why a file that is an annotation by its name is not read."""
    leaf = PurePosixPath(name).name.lower()
    if any(leaf.endswith(f"{suffix}.gz") for suffix in (*_JSON, *_LINES, *_TABLES)):
        return "compressed: unpack it first"
    if "submission" in leaf and leaf.endswith(_TABLES):
        return "a form for submissions, whose labels are placeholders"
    return None


def _kind(path: Path, name: str, suffix: str, known: FileNames) -> tuple[Format] | str | None:
    """The format in a tuple, a reason for a file that is not understood, None for one that is no annotation."""
    if suffix in _TABLES:
        try:
            layout = find_layout(path, name, known)
        except AmbiguousColumnsError as error:
            return str(error)
        if layout is None:
            return "none of its columns names images that are there" if _mentions(path) else None
        if layout.is_understood:
            return ("csv",)
        return f"its columns are {', '.join(layout.columns) or 'without names'}: none is known as a label or a text"
    if suffix == ".xml":
        if looks_like_voc(path):
            return ("voc",)
        return "XML that is not Pascal VOC's" if _mentions(path) else None
    if suffix == ".txt" and not is_voc_list(name):
        return _text_kind(path, name, known)
    return None


def _text_kind(path: Path, name: str, known: FileNames) -> tuple[Format] | str | None:
    if looks_like_yolo(path):
        return ("yolo",)
    here = str(PurePosixPath(name).parent)
    lines = read_first_lines(path, _SAMPLE_LINES)
    shown = [_names_image(line, here, known) for line in lines]
    if not lines or sum(shown) < _MIN_IMAGE_SHARE * len(lines):
        return None
    try:
        layout = find_layout(path, name, known)
    except AmbiguousColumnsError as error:
        return str(error)
    if layout is not None and layout.is_understood:
        return ("csv",)
    return "a list of images in a form that is not known"


def _names_image(line: str, here: str, known: FileNames) -> bool:
    word = line.replace("\t", " ").replace(",", " ").replace(";", " ").split()[0:1]
    likely = word and (names.mentions_image(word[0]) or "/" in word[0])
    return bool(likely) and known.knows(word[0], here, ".", "images", f"{here}/images", f"{here}/../images")


@dataclass(frozen=True)
class _Rows:
    """Which objects are annotations of images that are there."""

    known: FileNames
    info: dict[str, Any] | None

    def has(self, row: dict[str, Any]) -> bool:
        """Whether an object says something about an image."""
        with suppress(RecursionError):
            return self._has(row)
        return False

    def _has(self, row: dict[str, Any]) -> bool:
        values = names.rename(names.by_name(row), self.info)
        if not names.teaches(values):
            return False
        talks = names.first(values, names.TALKS)[1]
        ids = names.id_name(values)
        return bool(
            names.image_names(values)
            or read_conversation(talks, names.read_tags(self.info)).images
            or (ids and len(ids) >= names.MIN_ID_CHARACTERS and self.known.knows(ids, ".", "images"))
            or any("<img>" in text for text in names.texts(names.first(values, names.QUESTIONS)[1]))
        )


def _json_kind(file: Path, wanted: _Rows) -> tuple[Format] | str | None:
    if lines := _lines_kind(file, wanted):
        return lines
    keys, samples = set[str](), defaultdict[str | None, list[Any]](list)
    mentions = False
    try:
        with find_encoding(file).open(file) as text:
            for key, value, listed in stream_json(text):
                keys |= {key} - {None}  # type: ignore[arg-type]
                if len(samples[key]) < _SAMPLE_PARTS:
                    mentions = mentions or names.mentions_image(value) or names.mentions_image(key)
                    samples[key] += [value] if listed or value != [] else []
                if found := _decide_early(keys, samples, wanted):
                    return found
    except MalformedJsonError as error:
        return f"not valid JSON ({error})" if mentions or keys & _KEYS or _mentions(file) else None
    return _decide_at_end(keys, samples, mentions, wanted)


def _lines_kind(file: Path, wanted: _Rows) -> tuple[Format] | str | None:
    """For files that have an object on each line: of one called .json at least two, which make it no JSON document."""
    is_json = file.suffix.lower() in _JSON
    lines = read_first_lines(file, _SAMPLE_LINES)
    if not lines or lines[0][0] == "[" or lines[0] == "{":
        return None
    rows = []
    for line in lines:
        with suppress(ValueError, RecursionError):
            rows += [json.loads(line, strict=False)] if line[0] == "{" else []
    if len(rows) < (2 if is_json else 1):
        if is_json or lines[0][0] != "{":
            return None if is_json else "it holds no JSON"
        return ("jsonl",) if len(lines[0]) > _LONG_LINE_CHARACTERS else None
    if any(wanted.has(row) for row in rows if isinstance(row, dict)):
        return ("jsonl",)
    return "JSON lines that say nothing known of an image" if any(map(names.mentions_image, rows)) else None


def _decide_early(
    keys: set[str], samples: dict[str | None, list[Any]], wanted: _Rows
) -> tuple[Format] | None:
    """The format as soon as enough was seen, so that of a large file only the beginning is read."""
    rows = [row for row in samples[None][:_SAMPLE_PARTS] if isinstance(row, dict)]
    if any(map(wanted.has, rows)):
        return ("json",)
    images = [row for row in samples["images"] if isinstance(row, dict)]
    notes = [row for row in samples["annotations"] if isinstance(row, dict)]
    if any("image_id" in row for row in notes) and (images or "images" in keys or "category_id" in notes[0]):
        return ("coco",) if any(_names_file(row) for row in images) or not images else None
    return None


def _decide_at_end(
    keys: set[str], samples: dict[str | None, list[Any]], mentions: bool, wanted: _Rows
) -> tuple[Format] | str | None:
    """The format of a file that was read to its end."""
    images = [row for row in samples["images"] if isinstance(row, dict)]
    rows = [row for key in keys for row in samples[key] if isinstance(row, dict)]
    if any(wanted.has(row) for row in rows if names.first(names.by_name(row), names.IMAGES)[0]):
        return ("json",)
    if any(_names_file(row) for row in images):
        return ("coco",)
    if keys == FIFTYONE and any(isinstance(part, dict) for part in samples["labels"]):
        return ("json",)
    named = [key for key in keys if names.mentions_image(key)]
    if named and all(names.texts(part) or isinstance(part, dict) for key in named for part in samples[key]):
        return ("json",)
    if mentions or keys & _KEYS:
        shown = ", ".join(sorted(keys)[:8])
        return (
            f"JSON with the keys {shown}" if shown else "a JSON list whose elements say nothing that is known"
        )
    return None


def _names_file(row: dict[str, Any]) -> bool:
    return any(isinstance(row.get(key), str) for key in ("file_name", "filename", "fileName", "path"))


def _mentions(path: Path) -> bool:
    """Whether the beginning of a text has a word that ends like an image's file name."""
    with find_encoding(path).open(path) as text:
        head = text.read(_HEAD_CHARACTERS)
    for mark in "\"'<>,;|\t\r\n":
        head = head.replace(mark, " ")
    return any(map(names.mentions_image, head.split()))


def _take_info(folder: Path, name: str, result: Survey) -> bool:
    """Note what a `dataset_info.json` says of the files beside it; whether it is one."""
    document = read_small_json(folder / name)
    entries = list(document.values()) if isinstance(document, dict) else []
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        return False
    here = PurePosixPath(name).parent
    for entry in entries:
        if isinstance(entry.get("file_name"), str):
            result.infos[str(here / entry["file_name"])] = entry
    return True


def describe(files: list[str], most: int = 3) -> str:
    """The first of some files, and how many more there are."""
    more = f" and {len(files) - most} more" if len(files) > most else ""
    return ", ".join(files[:most]) + more


def others(result: Survey, read: Format) -> Iterator[str]:
    """Sentences about files that the reader of a format leaves aside."""
    for kind, files in result.found.items():
        if kind != read and files:
            yield f"{describe(files)} was not read: the dataset was read in the format '{read}'"
    if result.unread:
        yield f"{describe(result.unread)} was not read: files of this kind are none of the known annotations"
