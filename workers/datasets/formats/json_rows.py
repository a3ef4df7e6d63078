"""JSON files that hold rows: a list of objects, an object with such a list, or file names with their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from workers.datasets.formats import fields as names
from workers.datasets.formats.rows import RowReader
from workers.datasets.formats.source import Source
from workers.datasets.json_stream import MalformedJsonError, Part, stream_json
from workers.datasets.records import Found, Refusal
from workers.datasets.text_files import find_encoding

FIFTYONE = frozenset({"classes", "labels"})
"""The keys of FiftyOne's classification datasets: `labels` has a number in `classes`, or a label, for each image."""

_MAX_LISTED = 1_000
"""Of what a key that is an image's name lists; more are no labels."""


def read_json_rows(source: Source, infos: Mapping[str, Any]) -> Found:
    """Every object of the files that names an image; `infos` are the entries of `dataset_info.json` by file."""
    for name in source.annotations:
        reader = RowReader(source, name, infos.get(name))
        encoding = find_encoding(source.folder / name)
        yield from encoding.remarks(name)
        classes: list[Any] = []
        with encoding.open(source.folder / name) as text:
            number = 0
            try:
                for key, value, listed in _with_lists(stream_json(text)):
                    number += listed
                    if key == "classes" and listed:
                        classes.append(value)
                    elif listed and (key is None or _is_row(value)):
                        yield from reader.read(value, f"{name}:{number}")
                    elif key == "labels" and isinstance(value, dict):
                        for image, label in value.items():
                            yield from _read_pair(reader, name, image, _name_label(label, classes))
                    elif key is not None and not listed and names.mentions_image(key):
                        yield from _read_listed(reader, name, key, value)
            except MalformedJsonError as error:
                yield Refusal(name, f"not valid JSON from here on: '{error}'")


def _is_row(value: Any) -> bool:
    """Whether an element beside other lists is an annotation, and not a category or a license."""
    fields = names.by_name(value) if isinstance(value, dict) else {}
    return names.first(fields, names.IMAGES)[0] is not None


def _with_lists(parts: Iterator[Part]) -> Iterator[Part]:
    """The parts of a document, where the list of an image's key, `{"a.jpg": ["cat"]}`, comes whole."""
    pending: Part | None = None
    for part in parts:
        if pending and part.listed and not _is_row(part.value):
            if len(pending.value) <= _MAX_LISTED:
                pending.value.append(part.value)
            continue
        if pending and not part.listed:
            yield pending
            pending = None
        if part.value == [] and not part.listed and part.key is not None and names.mentions_image(part.key):
            pending = part
        else:
            yield part
    if pending:
        yield pending


def _read_listed(reader: RowReader, name: str, image: str, said: Any) -> Found:
    """What a key that is an image's name holds: boxes, several rows, or its label."""
    listed = said if isinstance(said, list) else []
    if len(listed) > _MAX_LISTED:
        yield Refusal(f"{name}: {image[:100]}", f"says more than {_MAX_LISTED} things")
    elif listed and all(isinstance(part, dict) for part in listed):
        has_boxes = all("bbox" in names.by_name(part) for part in listed)
        for row in [{"objects": listed}] if has_boxes else listed:
            yield from _read_pair(reader, name, image, row)
    else:
        yield from _read_pair(reader, name, image, said)


def _read_pair(reader: RowReader, name: str, image: str, label: Any) -> Found:
    row = label if isinstance(label, dict) and names.teaches(names.by_name(label)) else {"label": label}
    yield from reader.read({**row, "image": image}, f"{name}: {image[:100]}")


def _name_label(label: Any, classes: list[Any]) -> Any:
    """FiftyOne's labels are places in the list of classes where they are numbers."""
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(classes):
        return classes[label]
    return [_name_label(part, classes) for part in label] if isinstance(label, list) else label


def read_small_json(path: Path, max_bytes: int = 1 << 22) -> Any:
    """A small JSON document whole; None where it is large or none."""
    try:
        if path.stat().st_size > max_bytes:
            return None
        found: dict[str | None, Any] = {}
        with find_encoding(path).open(path) as text:
            for key, value, listed in stream_json(text):
                if listed:
                    found[key].append(value)
                else:
                    found[key] = value
    except (OSError, MalformedJsonError):
        return None
    return found.get(None, found)
