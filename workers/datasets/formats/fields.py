"""The names that people give to the fields of an annotation, in JSON objects and in the columns of tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from workers.datasets.records import is_image

IMAGES = (
    "image", "images", "image_path", "image_paths", "img", "img_path", "imgpath", "image_file", "imagefile",
    "image_filename", "image_name", "imagename", "img_name", "file_name", "filename", "file", "file_path",
    "filepath", "files", "path", "paths", "image_url", "image_urls", "img_url", "url", "photo", "picture",
    "filepaths", "filenames", "file_names", "file_paths", "photo_name", "photo_path", "photos", "pic", "pics",
    "pic_name", "picture_name", "picture_path", "pictures", "img_file", "img_filename", "image_filepath", "imgs",
)  # fmt: skip
MIN_ID_CHARACTERS = 4
"""Of an id that names an image; shorter ones are as often the numbers of classes."""
IDS = ("image_id", "id_code", "image_code", "img_id", "imageid", "id", "uuid", "key", "name")
"""Fields that name an image where no field does so by its own name: most often a file's name without its suffix."""
LABELS = (
    "class_name", "classname", "label_name", "category_name", "label_text", "label", "labels", "class", "classes",
    "category", "categories", "class_label", "target", "targets", "ground_truth", "species", "breed", "tag", "tags",
    "class_id", "label_id", "category_id",
)  # fmt: skip
"""Names before the numbers that often stand beside them."""
CAPTIONS = (
    "caption", "captions", "text", "texts", "description", "sentence", "sentences", "comment", "alt_text", "raw",
)  # fmt: skip
QUESTIONS = ("question", "questions", "query", "instruction", "prompt")
ANSWERS = (
    "answer", "answers", "response", "output", "multiple_choice_answer", "completion", "target", "label", "gt_answer",
)  # fmt: skip
SPLITS = (
    "split", "set", "subset", "partition", "phase", "data_split", "dataset_split", "usage", "splits", "train_test",
)  # fmt: skip
PAIRS = ("qa_pairs", "qas", "qa", "questions")
"""Lists of objects with a question and an answer."""
TALKS = ("messages", "conversations", "conversation", "dialog", "dialogue", "chat")
OBJECTS = ("objects", "bboxes", "boxes")
_TEXT_KEYS = (
    "name", "label", "raw", "text", "caption", "sentence", "answer", "value", "class", "class_name", "category",
)  # fmt: skip
_ROLES = {"prompt": "instruction", "query": "input", "response": "output"}
"""How LLaMA-Factory names the columns of its own format."""
_KEPT = re.compile(r"[^a-z0-9]+")


def normalise(name: Any) -> str:
    """A field's name whatever its case and what is between its words: `Image Path`, `image-path`, `imagePath`."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(name).strip())
    return _KEPT.sub("_", text.lower()).strip("_")


def by_name(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row's values under normalised names, without those that say nothing."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if value is not None and value != "" and value != []:
            found.setdefault(normalise(name), value)
    return found


def rename(fields: Mapping[str, Any], info: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields under their usual names, where an entry of LLaMA-Factory's `dataset_info.json` gives them others."""
    columns = (info or {}).get("columns")
    roles = {normalise(column): role for role, column in columns.items()} if isinstance(columns, dict) else {}
    return {
        _ROLES.get(roles[name], roles[name]) if name in roles else name: value
        for name, value in fields.items()
    }


def read_tags(info: Mapping[str, Any] | None) -> dict[str, str]:
    """What an entry of `dataset_info.json` says of roles and contents, without what is no text."""
    tags = (info or {}).get("tags")
    return {key: tag for key, tag in tags.items() if isinstance(tag, str)} if isinstance(tags, dict) else {}


def first(fields: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Any] | tuple[None, None]:
    """The first of the named fields that is there, and what it says."""
    return next(((name, fields[name]) for name in names if name in fields), (None, None))


def image_names(fields: Mapping[str, Any]) -> list[Any]:
    """What a row names as its image: texts, or objects with bytes."""
    return list(_flat(first(fields, IMAGES)[1]))


def id_name(fields: Mapping[str, Any]) -> str | None:
    """The id of a row, which may name its image where nothing else does."""
    value = first(fields, IDS)[1]
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for part in value:
            yield from _flat(part)
    elif isinstance(value, dict):
        name = next(
            (value[key] for key in ("path", "url", "file_name", "filename", "image") if value.get(key)), None
        )
        if value.get("bytes") or isinstance(name, str):
            yield value if value.get("bytes") else name
    elif isinstance(value, str) and value.strip():
        yield value.strip()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def teaches(fields: Mapping[str, Any]) -> bool:
    """Whether a row has a field that says something about an image."""
    pairs = first(fields, PAIRS)[1]
    has_pairs = isinstance(pairs, list) and any(isinstance(part, dict) for part in pairs)
    return (
        has_pairs
        or any(first(fields, names)[0] for names in (TALKS, LABELS, CAPTIONS, OBJECTS))
        or (first(fields, QUESTIONS)[0] is not None and first(fields, ANSWERS)[0] is not None)
    )


def mentions_image(value: Any, depth: int = 8) -> bool:
    """Whether a value, or one in it, is a text that ends like an image's file name."""
    if isinstance(value, str):
        return len(value) < 4_096 and is_image(value.strip().replace("\\", "/").partition("#")[0])
    if depth and isinstance(value, dict):
        return any(mentions_image(part, depth - 1) for pair in list(value.items())[:100] for part in pair)
    return (
        bool(depth)
        and isinstance(value, list)
        and any(mentions_image(part, depth - 1) for part in value[:100])
    )


def texts(value: Any, depth: int = 8) -> list[str]:
    """The texts in a field: one, a list of them, or objects that hold one under a usual name; none below `depth`."""
    if isinstance(value, list):
        return [text for part in value for text in texts(part, depth - 1)] if depth else []
    if isinstance(value, dict):
        found = next((value[key] for key in _TEXT_KEYS if value.get(key) is not None), None)
        return texts(found, depth - 1) if depth else []
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, float):
        return [] if value != value else [str(int(value)) if value.is_integer() else str(value)]
    return [str(value).strip()] if isinstance(value, str | int) and str(value).strip() else []
