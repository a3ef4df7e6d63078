"""A folder of images with their labels as the names of its folders: read by the rules that datasets are read by."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import typer

from app.cli import output
from app.cli.files import check_any, check_regular, image_files, is_image, say_left_out
from app.cli.wording import in_flags
from app.folders.layout import AmbiguousFoldersError, LabelsFrom, Layout, OwnSplit, read_layout
from app.folders.walking import Walk
from app.folders.words import count_of, name_some

_ANNOTATIONS = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".xml"})
_HEAD_BYTES = 1 << 16
_IMAGE_NAME = re.compile(rb"(?i)\.(jpe?g|jfif|png|webp|gif|bmp|tiff?|avif|hei[cf]|jp2)\b")
_COLUMN = re.compile(rb"(?i)\b(label|class|class_name|category|breed|species|caption)s?\b")


@dataclass(frozen=True)
class FolderRules:
    """What the user decided of how folders are read."""

    labels_from: LabelsFrom = "auto"
    own_split: OwnSplit = "keep"

    def fields(self) -> dict[str, str]:
        """The fields of a dataset that is sent; none for what nobody decided."""
        asked = {"labels_from": self.labels_from, "own_split": self.own_split}
        return {name: value for name, value in asked.items() if value not in ("auto", "keep")}


AUTO = FolderRules()


def list_labelled_files(
    paths: list[Path], label: str | None, rules: FolderRules = AUTO
) -> list[tuple[str, Path]]:
    """(label, file) pairs: all of `label`, or without one what the names of the folders in each path say."""
    if label is not None:
        if not label.strip():
            raise typer.BadParameter("it is empty: say what the images show", param_hint="--label")
        return [(label, file) for file in image_files(paths)]
    return [pair for path in paths for pair in read_labelled(path, rules)]


def read_labelled(folder: Path, rules: FolderRules) -> list[tuple[str, Path]]:
    """(label, file) of every image to teach, in the order of the names; says what was guessed and what was left out.

    Ends the command where the folders give no label, could mean several things, or stand beside annotations.
    """
    if not folder.is_dir():
        check_regular(folder)
        raise typer.BadParameter(f"{folder} is a file, so a --label is needed", param_hint="--label")
    files = list(Walk(folder))
    images = [name for name in files if is_image(name)]
    others = [name for name in files if not is_image(name)]
    check_any(folder, images)
    if rules.labels_from == "auto":
        _check_unannotated(folder, others)
    try:
        layout = read_layout(Counter(map(_folder_of, images)), rules.labels_from, rules.own_split)
    except AmbiguousFoldersError as error:
        raise typer.BadParameter(f"{folder}: {in_flags(str(error))}", param_hint="--image") from None
    if not layout.places:
        reasons = Counter(_place(layout, name) for name in images).most_common(1)
        why = f" ({count_of(reasons[0][1], 'image')} {reasons[0][0]})" if reasons else ""
        raise typer.BadParameter(
            f"{folder} is no folder of folders{why}, so a --label is needed", param_hint="--label"
        )
    taught, aside = [], Counter[str]()
    for name in images:
        place = layout.place_of(_folder_of(name))
        if isinstance(place, str):
            aside[place] += 1
        elif place.split in ("validation", "test"):
            aside[f"of the split for {place.split}, which is not taught (--own-split ignore teaches it)"] += 1
        else:
            taught.append((place.label, folder / name))
    if not taught:
        why = "; ".join(f"{count_of(count, 'image')} {reason}" for reason, count in aside.items())
        raise typer.BadParameter(f"{folder} holds nothing to teach: {why}", param_hint="--image")
    for sentence in layout.sentences:
        output.say(f"{folder}: {sentence}")
    for reason, count in aside.items():
        output.say(f"{folder}: {count_of(count, 'image')} left out: {reason}")
    say_left_out(folder, others)
    return taught


def _check_unannotated(folder: Path, others: list[str]) -> None:
    found = [name for name in others if _says_labels(folder / name)]
    if found:
        raise typer.BadParameter(
            f"{folder} has annotations ({name_some(found)}), which say what the images show: `vision manyshot "
            f"prepare-dataset --data-dir {folder}` reads them, and `vision datasets teach` teaches what it finds; "
            "--labels-from top or parent takes the names of the folders all the same",
            param_hint="--image",
        )


def _says_labels(file: Path) -> bool:
    """Whether a text names images or has a column of labels, by its beginning."""
    if file.suffix.lower() not in _ANNOTATIONS:
        return False
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD_BYTES).replace(b"\0", b"")  # UTF-16 read as single bytes
    except OSError:
        return False
    first_line = head.partition(b"\n")[0]
    is_table = file.suffix.lower() in (".csv", ".tsv")
    return bool(_IMAGE_NAME.search(head)) or (is_table and bool(_COLUMN.search(first_line)))


def _place(layout: Layout, name: str) -> str:
    return str(layout.place_of(_folder_of(name)))


def _folder_of(name: str) -> str:
    return name.rpartition("/")[0]
