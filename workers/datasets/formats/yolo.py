"""YOLO: a text file an image, a class and a box in shares of the image on each line, and the names of the classes."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from app.folders.splits import Split, split_named
from workers.datasets.formats.regions import Region, read_regions, to_corners, to_numbers
from workers.datasets.formats.source import Source
from workers.datasets.naming import UnmatchedNameError, inside
from workers.datasets.records import SHARES, Box, Found, Refusal, Remark, files_below, is_image
from workers.datasets.text_files import (
    MAX_LINE_CHARACTERS,
    MAX_LIST_BYTES,
    find_encoding,
    read_first_lines,
    read_lines,
)

_LINE = re.compile(r"\s*\d+(\.0*)?(\s+[-+]?[\d.]+([eE][-+]?\d+)?){4,}\s*")
_SAMPLE_LINES = 20
_MAX_TEXT_BYTES = 1 << 23
_MAX_CONFIG_BYTES = 1 << 20
_NUMBER = re.compile(r"[0-9]{1,9}")
_NAME_FILES = ("classes.txt", "obj.names", "names.txt", "labels.txt", "_darknet.labels", "class.names")
_NO_BOX = "has no boxes"


def looks_like_yolo(path: Path) -> bool:
    """Whether every line that is looked at is a class and a box or an outline."""
    lines = read_first_lines(path, _SAMPLE_LINES)
    return bool(lines) and all(map(_LINE.fullmatch, lines))


def is_yolo_config(path: Path) -> bool:
    """Whether a YAML file names classes, as data.yaml does."""
    return bool(_config(path).get("names"))


def read_yolo(source: Source) -> Found:
    """Each image's classes: of the whole image where it shows one, or a crop a box."""
    classes = yield from _find_classes(source)
    labels = _by_stem(source)
    for path in files_below(source.folder):
        if not is_image(path):
            continue
        try:
            path = source.names.find(path, ".")
        except UnmatchedNameError as error:  # such as a link out of the folder
            yield Refusal(path, str(error))
            continue
        found = next((name for name in _places(path) if name in labels), None)
        if found is None:
            yield Refusal(path, _NO_BOX)
            continue
        del labels[found]
        split = classes.split_of(path) or source.split(found, path)
        regions, problems = _regions(source.folder / found, classes)
        for number, problem in problems:
            yield Refusal(f"{found}:{number}", problem)
        if regions:
            yield from read_regions(path, split, regions, source.boxes)
        elif not problems:
            yield Refusal(path, _NO_BOX)
    for name in labels:
        yield Refusal(name, "there is no image of its name")


@dataclass
class _Classes:
    names: dict[int, str]
    keypoints: bool = False
    splits: list[tuple[str, Split]] = field(default_factory=list)
    """Folders of images, as the configuration names them."""
    listed: dict[str, Split] = field(default_factory=dict)

    def split_of(self, path: str) -> Split | None:
        """The split that the configuration gives an image."""
        if path in self.listed:
            return self.listed[path]
        return next((split for folder, split in self.splits if path.startswith(f"{folder}/")), None)


def _find_classes(source: Source) -> Generator[Refusal | Remark, None, _Classes]:
    """The classes that a configuration or a list beside names; yields what is guessed."""
    folder = source.folder
    files = list(files_below(folder))
    configs = [
        name for name in files if name.lower().endswith((".yaml", ".yml")) and is_yolo_config(folder / name)
    ]
    lists = [name for name in files if PurePosixPath(name).name.lower() in _NAME_FILES]
    if configs:
        config = _config(folder / configs[0])
        names = config["names"]
        pairs = (
            names.items() if isinstance(names, dict) else enumerate(names if isinstance(names, list) else [])
        )
        known = {key: name for key, name in pairs if isinstance(name, str | int | float)}
        classes = _Classes(
            {int(key): str(name).strip() for key, name in known.items() if _NUMBER.fullmatch(str(key))}
        )
        classes.keypoints = bool(config.get("kpt_shape"))
        yield from _add_splits(source, configs[0], config, classes)
        if len(configs) > 1:
            yield Remark(f"the classes are those of {configs[0]}; {', '.join(configs[1:])} was not read")
        return classes
    if lists and (folder / lists[0]).stat().st_size > _MAX_CONFIG_BYTES:
        yield Refusal(lists[0], f"larger than {_MAX_CONFIG_BYTES >> 20} MiB")
    elif lists:
        with find_encoding(folder / lists[0]).open(folder / lists[0]) as text:
            lines = read_lines(text, MAX_LINE_CHARACTERS)
            return _Classes(dict(enumerate(line.strip() for line in lines if line.strip())))
    yield Remark("no data.yaml or classes.txt names the classes: their numbers are the labels")
    return _Classes({})


def _add_splits(source: Source, name: str, config: dict[Any, Any], classes: _Classes) -> Iterator[Refusal]:
    """Folders and lists of images that the configuration gives a split; its `path` is often that of another machine."""
    here = PurePosixPath(name).parent
    for key in ("train", "val", "valid", "test"):
        split, places = split_named(key), config.get(key)
        for place in places if isinstance(places, list) else [places]:
            if not isinstance(place, str) or split is None:
                continue
            parts = [part for part in place.replace("\\", "/").split("/") if part not in ("", ".", "..")]
            for start in range(len(parts)):
                below = "/".join(parts[start:])
                bases = dict.fromkeys(
                    str(here / base)
                    for base in (config["path"] if isinstance(config.get("path"), str) else ".", ".")
                )
                if listed := inside(source.folder, below, *bases):
                    yield from _add_list(source, listed, split, classes)
                    break
                if found := next(
                    (base for base in bases if _has_folder(source.folder, f"{base}/{below}")), None
                ):
                    classes.splits.append((str(PurePosixPath(found) / below), split))
                    break


def _has_folder(root: Path, name: str) -> bool:
    """Whether a folder of the dataset has this name; what lies outside is not looked at."""
    try:
        place = (root / name).resolve()
        return place.is_relative_to(root.resolve()) and place.is_dir()
    except (OSError, ValueError):  # too long, or with a NUL in it
        return False


def _add_list(source: Source, listed: str, split: Split, classes: _Classes) -> Iterator[Refusal]:
    if (source.folder / listed).stat().st_size > MAX_LIST_BYTES:
        yield Refusal(listed, f"larger than {MAX_LIST_BYTES >> 20} MiB")
        return
    here = str(PurePosixPath(listed).parent)
    with find_encoding(source.folder / listed).open(source.folder / listed) as text:
        for line in read_lines(text, MAX_LINE_CHARACTERS):
            if line.strip():
                try:
                    classes.listed[source.names.find(line.rstrip("\r\n"), here, ".")] = split
                except UnmatchedNameError:
                    continue


def _by_stem(source: Source) -> dict[str, None]:
    return {name: None for name in source.annotations if PurePosixPath(name).name.lower() not in _NAME_FILES}


def _places(path: str) -> Iterator[str]:
    """Where the text of an image lies: in `labels` beside `images`, or next to it."""
    stem = PurePosixPath(path).with_suffix(".txt")
    parts = list(stem.parts)
    for place in reversed(range(len(parts) - 1)):
        if parts[place].lower() == "images":
            yield "/".join([*parts[:place], "labels", *parts[place + 1 :]])
    yield str(stem)
    yield "/".join(["labels", *parts])
    yield "/".join([*parts[:-1], "labels", parts[-1]])


def _regions(path: Path, classes: _Classes) -> tuple[list[Region], list[tuple[int, str]]]:
    """The boxes of an image's text, and the lines that are none with the reason."""
    regions: list[Region] = []
    problems: list[tuple[int, str]] = []
    if path.stat().st_size > _MAX_TEXT_BYTES:
        return regions, [(1, f"larger than {_MAX_TEXT_BYTES >> 20} MiB")]
    with find_encoding(path).open(path) as text:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            numbers = to_numbers(line.split())
            if numbers is None or len(numbers) < 5 or numbers[0] < 0 or not numbers[0].is_integer():
                problems.append((number, "not a class and a box"))
                continue
            label = classes.names.get(int(numbers[0])) if classes.names else str(int(numbers[0]))
            if not label:
                problems.append((number, f"there is no class '{int(numbers[0])}'"))
                continue
            regions.append(Region(label, _box(numbers[1:], classes.keypoints)))
    return regions, problems


def _box(numbers: list[float], keypoints: bool) -> Box | None:
    """Of centre, width and height (and a confidence or key points after them), or of an outline's points."""
    if keypoints or len(numbers) < 6:
        x, y, width, height = numbers[:4]
        return Box(x - width / 2, y - height / 2, width, height, SHARES)
    across, down = numbers[0 : len(numbers) // 2 * 2 : 2], numbers[1::2]
    return to_corners([min(across), min(down), max(across), max(down)], SHARES)


def _config(path: Path) -> dict[Any, Any]:
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            return {}
        with find_encoding(path).open(path) as text:
            found = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
