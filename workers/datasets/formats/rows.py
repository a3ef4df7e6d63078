"""One annotation a row: an object of a JSON file or a table's line, with an image and what is said about it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import VisionError
from app.folders.splits import Split
from app.media.images import from_base64
from app.media.kinds import sniff
from workers.datasets.formats import fields as names
from workers.datasets.formats.conversations import Conversation, clean, read_conversation, read_history
from workers.datasets.formats.regions import Region, read_regions, to_box
from workers.datasets.formats.source import Source, shorten
from workers.datasets.naming import MAX_NAME_CHARACTERS, UnmatchedNameError
from workers.datasets.records import Found, Record, Refusal, Remark

MAX_EMBEDDED_BYTES = 1 << 26
"""Of an image within an annotation, as a data: URI or base64."""
EMBEDDED = ".embedded"
"""The folder of these images; being hidden, it is no part of the dataset's own files."""
_SHORT = {"q": "question", "a": "answer"}
_NOTHING = "it has no label, caption, question with answer, or messages"
_SEVERAL_LABELS = "has several labels: an image teaches one"
_ADDRESS = re.compile(r"(https?|s3|gs)://", re.IGNORECASE)


class RowReader:
    """Reads the rows of one annotation file."""

    def __init__(self, source: Source, annotation: str, info: Mapping[str, Any] | None = None) -> None:
        """`info` is the file's entry in a `dataset_info.json`: its names of columns and tags."""
        self._source = source
        self._annotation = annotation
        self._info = info
        self._tags = names.read_tags(info)

    def read(self, row: Any, place: str) -> Found:
        """The examples of a row; `place` says where it stands."""
        try:
            found = list(self._read(row, place))
        except RecursionError:
            found = [Refusal(place, "its fields are nested too deeply")]
        yield from found

    def _read(self, row: Any, place: str) -> Found:
        if not isinstance(row, dict):
            yield Refusal(place, "not a JSON object")
            return
        values = names.rename(names.by_name(row), self._info)
        images: list[Any] = []
        talk = self._talk(values, images)
        shown = list({str(image): image for image in names.image_names(values) or images}.values())
        if (
            not shown
            and not talk.pairs
            and (name := names.id_name(values))
            and len(name) >= names.MIN_ID_CHARACTERS
        ):
            shown = [name]
        if len(shown) != 1:
            yield Refusal(place, "shows several images: an example has one" if shown else "it names no image")
            return
        try:
            path = self._find(shown[0])
        except (UnmatchedNameError, VisionError) as error:
            is_address = _ADDRESS.match(str(shown[0])) and not getattr(error, "several", False)
            reason = (
                f"its image '{str(shown[0])[:100]}' is an address, which is not fetched"
                if is_address
                else error
            )
            yield Refusal(place, str(getattr(reason, "detail", reason)))
            return
        split = self._source.split_of_row(self._annotation, path, values)
        yield from self._examples(path, split, values, talk, place)

    def _examples(
        self, path: str, split: Split | None, values: dict[str, Any], talk: Conversation, place: str
    ) -> Found:
        labels = list(dict.fromkeys(names.texts(names.first(values, names.LABELS)[1])))
        captions = names.texts(names.first(values, names.CAPTIONS)[1])
        regions = list(_regions(values))
        if talk.pairs:
            yield from self._leave_out(
                values, (names.LABELS, names.CAPTIONS, names.OBJECTS), "questions with answers"
            )
            for question, answer in talk.pairs:
                yield Record(path, split, question=shorten(question) or None, answer=shorten(answer))
        elif regions:
            yield from self._leave_out(values, (names.LABELS, names.CAPTIONS), "regions")
            yield from read_regions(path, split, regions, self._source.boxes)
        elif labels:
            yield from self._leave_out(values, (names.CAPTIONS,), "labels")
            one = len(labels) == 1
            yield Record(path, split, label=shorten(labels[0])) if one else Refusal(place, _SEVERAL_LABELS)
        elif captions:
            for caption in captions:
                yield Record(path, split, answer=shorten(caption))
        else:
            yield Refusal(place, _NOTHING)
        if talk.chosen:
            yield Remark(
                f"questions of {self._annotation} with several answers, of which the commonest was taken", 1
            )
        if talk.has_system:
            yield from self._source.say(f"system messages of {self._annotation} were left out")
        if len(talk.pairs) > 1:
            yield from self._source.say(
                f"{self._annotation}: where an image has several questions, each with its answer is an example"
            )

    def _leave_out(self, values: dict[str, Any], groups: tuple[tuple[str, ...], ...], taught: str) -> Found:
        used = {name for name in (*names.QUESTIONS, *names.ANSWERS) if taught.startswith("questions")}
        for group in groups:
            name, _ = names.first(values, group)
            if name is not None and name not in used and name not in names.QUESTIONS:
                yield from self._source.say(
                    f"'{name}' of {self._annotation} was left out: its rows teach {taught}"
                )

    def _talk(self, values: dict[str, Any], images: list[Any]) -> Conversation:
        """Questions with answers, from whichever fields hold them."""
        _, messages = names.first(values, names.TALKS)
        if isinstance(messages, list) and messages and all(isinstance(part, dict) for part in messages):
            talk = read_conversation(messages, self._tags)
            if not talk.pairs and any("question" in part for part in messages):
                talk.pairs = list(_pairs(messages, images))
            images += talk.images
            return talk
        talk = Conversation(has_system="system" in values and "instruction" in values)
        nested = next((values[name] for name in names.PAIRS if name in values), None)
        if isinstance(nested, list) and any(isinstance(part, dict) for part in nested):
            talk.pairs = list(_pairs(nested, images))
            return talk
        talk.pairs = list(read_history(values.get("history"), images))
        asked, answered = (names.first(values, group) for group in (names.QUESTIONS, names.ANSWERS))
        questions = [clean(text, images) for text in names.texts(asked[1])]
        if asked[0] == "instruction" and len(questions) == 1:
            more = [clean(text, images) for text in names.texts(values.get("input"))]
            questions = ["\n".join(part for part in (*questions, *more) if part)]
        answers = [clean(text, images) for text in names.texts(answered[1])]
        if asked[0] is None:
            talk.pairs = []
        elif len(questions) > 1 and len(answers) == len(questions):
            talk.pairs += [pair for pair in zip(questions, answers, strict=True) if pair[1]]
        elif questions and answers:
            talk.pairs.append((questions[0], _commonest(answers)))
            talk.chosen += len(set(answers)) > 1
        return talk

    def _find(self, image: Any) -> str:
        """The path of a row's image; raises UnmatchedNameError, and VisionError for one within it that is no base64."""
        data = image.get("bytes") if isinstance(image, dict) else None
        if isinstance(image, dict):
            name = str(image.get("path") or image.get("url") or "")
            if not data or (name and self._source.names.knows(name, ".")):
                return self._source.find(self._annotation, name)
        text = str(data or image)
        is_embedded = bool(data) or text[:5].lower() == "data:"
        if not is_embedded and len(text) <= MAX_NAME_CHARACTERS:
            return self._source.find(self._annotation, text)
        content = from_base64(text, max_bytes=MAX_EMBEDDED_BYTES)
        if not is_embedded and sniff(content) is None:
            raise UnmatchedNameError(text)
        path = f"{EMBEDDED}/{hashlib.sha256(content).hexdigest()}"
        file = self._source.folder / path
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)
        return path


def _pairs(rows: list[Any], images: list[Any]) -> Iterator[tuple[str, str]]:
    """Questions with answers from a list of objects that hold one of each."""
    for row in rows:
        values = names.by_name(row) if isinstance(row, dict) else {}
        values = {_SHORT.get(name, name): value for name, value in values.items()}
        question, answers = (
            names.texts(names.first(values, group)[1]) for group in (names.QUESTIONS, names.ANSWERS)
        )
        if question and answers:
            yield clean(question[0], images), clean(_commonest(answers), images)


def _commonest(answers: list[str]) -> str:
    """Of several people's answers to one question; of equally common ones the first."""
    return max(answers, key=answers.count)


def _regions(values: dict[str, Any]) -> Iterator[Region]:
    """The objects of a row, as Hugging Face writes them (lists side by side) or as a list of objects."""
    _, objects = names.first(values, names.OBJECTS)
    sides = (values.get("width"), values.get("height"))
    if isinstance(objects, dict):
        parts = names.by_name(objects)
        boxes = parts.get("bbox") or parts.get("bboxes") or parts.get("boxes")
        labels = names.first(parts, names.LABELS)[1]
        if isinstance(boxes, list) and isinstance(labels, list) and len(boxes) == len(labels):
            objects = [{"bbox": box, "label": label} for box, label in zip(boxes, labels, strict=True)]
    for row in objects if isinstance(objects, list) else []:
        parts = names.by_name(row) if isinstance(row, dict) else {}
        label = names.texts(names.first(parts, names.LABELS)[1])
        if label and "bbox" in parts:
            yield Region(label[0], to_box(parts["bbox"], sides), parts.get("iscrowd") in (1, True, "1"))
