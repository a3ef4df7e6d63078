"""Pascal VOC: an XML file an image, with the objects in it and their boxes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Generator, Iterator
from pathlib import Path, PurePosixPath

from app.folders.splits import Split, split_named
from workers.datasets.formats.regions import Region, read_regions, to_corners
from workers.datasets.formats.source import Source
from workers.datasets.naming import UnmatchedNameError
from workers.datasets.records import Found, Refusal, files_below
from workers.datasets.text_files import MAX_LINE_CHARACTERS, MAX_LIST_BYTES, find_encoding, read_lines

_MAX_XML_BYTES = 1 << 23
_HEAD_CHARACTERS = 4_096
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_LISTS = "imagesets"
"""The folder of VOC's lists of images by split."""


def looks_like_voc(path: Path) -> bool:
    """Whether an XML file describes an image with objects."""
    with find_encoding(path).open(path) as text:
        head = text.read(_HEAD_CHARACTERS)
    return bool(re.search(r"<annotation[\s>]", head)) and bool(re.search(r"<(filename|object)[\s>]", head))


def is_voc_list(name: str) -> bool:
    """Whether a text file is one of VOC's own lists."""
    return _LISTS in (part.lower() for part in PurePosixPath(name).parts[:-1])


def read_voc(source: Source) -> Found:
    """Each annotation's categories: of the whole image where it shows one, or a crop a box."""
    splits = yield from _read_listed_splits(source.folder)
    for name in source.annotations:
        if not looks_like_voc(source.folder / name):
            continue
        encoding = find_encoding(source.folder / name)
        if encoding.name == "cp1252":
            yield from source.say(
                "XML files that are not valid UTF-8 were read in the encoding that they declare"
            )
        try:
            root = _parse(source.folder / name)
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            yield Refusal(name, f"not valid XML: '{error}'")
            continue
        try:
            path = _find(source, name, root)
        except UnmatchedNameError as error:
            yield Refusal(name, str(error))
            continue
        split = splits.get(PurePosixPath(name).stem) or source.split(name, path)
        regions = list(_regions(root))
        if regions:
            yield from read_regions(path, split, regions, source.boxes)
        else:
            yield Refusal(path, "its annotation holds no object")


def _parse(path: Path) -> ElementTree.Element:
    """A small document without declarations of its own; raises ParseError, ValueError."""
    if path.stat().st_size > _MAX_XML_BYTES:
        raise ValueError(f"larger than {_MAX_XML_BYTES >> 20} MiB")
    data = path.read_bytes()
    if (
        b"<!ENTITY" in data
        or "<!ENTITY".encode("utf-16-le") in data
        or "<!ENTITY".encode("utf-16-be") in data
    ):
        raise ValueError("it declares entities")
    return ElementTree.fromstring(data)  # noqa: S314  # bounded above, and without entities


def _find(source: Source, name: str, root: ElementTree.Element) -> str:
    """The image by the name in the document, else by the document's own, which is the image's in VOC."""
    named = (root.findtext("filename") or "").strip()
    folder = (root.findtext("folder") or "").strip()
    stem = PurePosixPath(name).stem
    for wanted in (f"{folder}/{named}" if folder and named else "", named, stem):
        if wanted and (wanted == stem or source.names.knows(wanted, *_bases(name))):
            try:
                return source.find(name, wanted)
            except UnmatchedNameError as error:
                if error.several or wanted == stem:
                    raise UnmatchedNameError(named or stem) from None if not error.several else error
    raise UnmatchedNameError(named or stem)


def _bases(name: str) -> tuple[str, ...]:
    here = str(PurePosixPath(name).parent)
    return here, ".", "images", "JPEGImages", f"{here}/../images", f"{here}/../JPEGImages", f"{here}/.."


def _regions(root: ElementTree.Element) -> Iterator[Region]:
    size = root.find("size")
    sides = (size.findtext("width"), size.findtext("height")) if size is not None else None
    for found in root.iter("object"):
        label = (found.findtext("name") or "").strip()
        box = found.find("bndbox")
        corners = [box.findtext(corner) for corner in _CORNERS] if box is not None else []
        if label:
            yield Region(label, to_corners(corners, sides))


def _read_listed_splits(folder: Path) -> Generator[Refusal, None, dict[str, Split]]:
    """What VOC's own lists say; an image in several is judged on."""
    order: list[Split] = ["train", "validation", "test"]
    found: dict[str, Split] = {}
    for name in files_below(folder):
        split = (
            split_named(PurePosixPath(name).stem)
            if is_voc_list(name) and name.lower().endswith(".txt")
            else None
        )
        if split is None or PurePosixPath(name).stem.lower() == "trainval":
            continue
        if (folder / name).stat().st_size > MAX_LIST_BYTES:
            yield Refusal(name, f"larger than {MAX_LIST_BYTES >> 20} MiB")
            continue
        with find_encoding(folder / name).open(folder / name) as text:
            for line in read_lines(text, MAX_LINE_CHARACTERS):
                stem = line.split()[0] if line.strip() else ""
                if stem and order.index(split) >= order.index(found.get(stem, "train")):
                    found[stem] = split
    return found
