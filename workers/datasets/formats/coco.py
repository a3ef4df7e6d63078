"""COCO annotation files of any size: categories, boxes, captions, and questions with answers.

A file is read an object at a time into a scratch file of SQLite's own, since its lists may come in any order; then
each image is looked up with its annotations.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from workers.datasets.formats import fields as names
from workers.datasets.formats.regions import Region, read_regions, to_box
from workers.datasets.formats.source import Source, shorten
from workers.datasets.json_stream import MalformedJsonError, stream_json
from workers.datasets.naming import UnmatchedNameError, exact_id, id_key
from workers.datasets.records import Found, Record, Refusal, Remark, to_plain
from workers.datasets.text_files import find_encoding

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE images (key TEXT, exact TEXT, name TEXT, split TEXT, width, height);
CREATE TABLE notes (key TEXT, exact TEXT, content TEXT);
CREATE TABLE categories (key TEXT, exact TEXT, name TEXT);
"""
_NEITHER = "has neither a caption nor a category"


def read_coco(source: Source) -> Found:
    """Questions with answers, captions, or categories: of the whole image where it shows one, or a crop a box."""
    for name in source.annotations:
        encoding = find_encoding(source.folder / name)
        yield from encoding.remarks(name)
        with closing(_CocoFile(source, name)) as file:
            with encoding.open(source.folder / name) as text:
                try:
                    file.load(text)
                except MalformedJsonError as error:
                    yield Refusal(name, f"not valid JSON from here on: '{error}'")
            yield from file.read()


class _CocoFile:
    """One file's images, annotations and categories."""

    def __init__(self, source: Source, name: str) -> None:
        self._source, self._name = source, name
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.executescript(_TABLES)
        self._base.execute("BEGIN")
        self._odd = Counter[str]()
        self._names: dict[str, list[str]] = {}
        self._category_key = id_key

    def close(self) -> None:
        """Let the scratch file go."""
        self._base.close()

    def load(self, text: Any) -> None:
        """Take everything in; raises MalformedJsonError, what came before it being kept."""
        takes = {
            "images": self._take_image,
            "annotations": self._take_note,
            "categories": self._take_category,
        }
        for key, value, listed in stream_json(text):
            if listed and key in takes:
                try:
                    is_taken = isinstance(value, dict)
                    if is_taken:
                        takes[key](value)
                except RecursionError:
                    is_taken = False
                if not is_taken:
                    self._odd[f"{key} of {self._name} are no objects that can be read and were left out"] += 1

    def read(self) -> Found:
        """Each image's examples, in the order of the images."""
        yield from self._choose_keys()
        self._base.execute("CREATE INDEX images_by_key ON images (key, name)")
        self._base.execute("CREATE INDEX notes_by_key ON notes (key)")
        self._read_categories()
        images = self._base.execute(
            "SELECT key, name, split, width, height, count(*) FROM images GROUP BY key, name ORDER BY min(rowid)"
        )
        for key, name, split, *size, times in images:
            self._odd[f"images of {self._name} are listed a second time"] += times - 1
            if (other := self._shares_id(key, name)) is not None:
                yield Refusal(name, f"its id is also that of '{other}': annotations name images by their id")
                continue
            try:
                path = self._source.find(self._name, name)
            except UnmatchedNameError as error:
                yield Refusal(name, str(error) if error.several else "named in the annotations but not there")
                continue
            notes = self._notes_of(key)
            place = self._source.split(self._name, path, split)
            yield from self._image(path, place, notes, (size[0], size[1]))
        yield from self._remarks()

    def _take_image(self, image: dict[str, Any]) -> None:
        name = next(
            (image[key] for key in ("file_name", "filename", "fileName", "path") if image.get(key)), None
        )
        if name is None:
            self._odd[f"images of {self._name} have no file_name and were left out"] += 1
            return
        row = (
            id_key(image.get("id")),
            exact_id(image.get("id")),
            to_plain(str(name)),
            *map(_scalar, map(image.get, ("split", "width", "height"))),
        )
        self._base.execute("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?)", row)

    def _take_note(self, note: dict[str, Any]) -> None:
        kept = {
            key: note[key]
            for key in ("category_id", "bbox", "iscrowd", "caption", "question", "answer")
            if note.get(key) is not None
        }
        if (
            label := names.first(note, ("category_name", "label", "class"))[1]
        ) is not None and "category_id" not in kept:
            kept["label"] = label
        ids = note.get("image_id")
        row = (id_key(ids), exact_id(ids), json.dumps(kept))
        self._base.execute("INSERT INTO notes (key, exact, content) VALUES (?, ?, ?)", row)

    def _take_category(self, category: dict[str, Any]) -> None:
        name, ids = to_plain(str(category.get("name") or "")).strip(), category.get("id")
        if name and id_key(ids) is not None:
            self._base.execute("INSERT INTO categories VALUES (?, ?, ?)", (id_key(ids), exact_id(ids), name))

    def _choose_keys(self) -> Iterator[Remark]:
        """Ids are compared as numbers unless two images have ids that only differ in how they are written."""
        query = "SELECT count(DISTINCT key), count(DISTINCT exact) FROM images"
        loose, exact = self._base.execute(query).fetchone()
        if loose < exact:
            self._base.execute("UPDATE images SET key = exact")
            self._base.execute("UPDATE notes SET key = exact")
            yield Remark(
                f"{self._name}: ids of images that only differ in how they are written are different images"
            )
        query = "SELECT count(DISTINCT key), count(DISTINCT exact) FROM categories"
        loose, exact = self._base.execute(query).fetchone()
        if loose < exact:
            self._base.execute("UPDATE categories SET key = exact")
            self._category_key = exact_id

    def _read_categories(self) -> None:
        for key, name in self._base.execute("SELECT key, name FROM categories"):
            known = self._names.setdefault(key, [])
            if name not in known:
                known.append(name)

    def _shares_id(self, key: str | None, name: str) -> str | None:
        """Another image's file name with the same id."""
        query = "SELECT name FROM images WHERE key = ? AND name != ? LIMIT 1"
        found = self._base.execute(query, (key, name)).fetchone()
        return found[0] if found else None

    def _notes_of(self, key: str | None) -> list[dict[str, Any]]:
        query = "SELECT content FROM notes WHERE key = ? ORDER BY rowid"
        notes = self._base.execute(query, (key,)).fetchall()
        return [json.loads(content) for (content,) in notes]

    def _image(self, path: str, split: Any, notes: list[dict[str, Any]], size: tuple[Any, Any]) -> Found:
        asked = [texts for note in notes if (texts := _read_question(note))]
        captions = [text for note in notes for text in names.texts(note.get("caption"))]
        regions = []
        for note in notes:
            labels = self._labels_of(note)
            if len(labels) > 1:
                yield Refusal(path, f"its category id is that of several: '{labels[0]}' and '{labels[1]}'")
                return
            if labels:
                regions.append(
                    Region(labels[0], to_box(note.get("bbox"), size), _is_set(note.get("iscrowd")))
                )
        if asked:
            for question, answer in asked:
                yield Record(path, split, question=shorten(question), answer=shorten(answer))
        elif captions:
            for caption in captions:
                yield Record(path, split, answer=shorten(caption))
        elif regions:
            yield from read_regions(path, split, regions, self._source.boxes)
        else:
            yield Refusal(path, _NEITHER)

    def _labels_of(self, note: dict[str, Any]) -> list[str]:
        if "label" in note:
            return names.texts(note["label"])
        ids = note.get("category_id")
        key = self._category_key(ids)
        found = self._names.get(key, []) if key is not None else []
        if key is not None and not found:
            self._odd[
                f"annotations of {self._name} name a category id that is not there and were left out"
            ] += 1
        return found

    def _remarks(self) -> Iterator[Remark]:
        for sentence, count in (+self._odd).items():
            yield Remark(f"{count} {sentence}")
        (strays,) = self._base.execute(
            "SELECT count(*) FROM notes WHERE key IS NULL OR key NOT IN (SELECT key FROM images WHERE key IS NOT NULL)"
        ).fetchone()
        if strays:
            yield Remark(
                f"{strays} annotations of {self._name} name an image id that is not there and were left out"
            )
        twice = Counter(name for found in self._names.values() for name in found)
        if same := [name for name, count in twice.items() if count > 1]:
            yield Remark(f"{self._name}: categories of one name count as one label, such as '{same[0]}'")


def _read_question(note: dict[str, Any]) -> tuple[str, str] | None:
    """The question and the answer of an annotation that has both."""
    question, answer = names.texts(note.get("question")), names.texts(note.get("answer"))
    return (question[0], answer[0]) if question and answer else None


def _is_set(value: Any) -> bool:
    return str(value).strip().lower() in ("1", "1.0", "true")


def _scalar(value: Any) -> int | float | str | None:
    """What SQLite can hold; a number too large for it is none."""
    if isinstance(value, str | float):
        return to_plain(value) if isinstance(value, str) else value
    return value if isinstance(value, int) and abs(value) < 1 << 62 else None
