"""Which label and which split the folders of a dataset give to the images in them, and what was guessed for it.

Folders around everything are looked through, split folders (`train`, `test_set`, `val`) may stand above or below the
labels, years and other groups below a label carry none. What could mean several things is refused with the choices.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from app.folders.levels import AmbiguousFoldersError, Labels, find_labels
from app.folders.splits import SPLITS, Split, split_named
from app.folders.tree import Folder, Level, build_tree, fold, inner_of
from app.folders.words import count_of, name_some

LabelsFrom = Literal["auto", "top", "parent"]
OwnSplit = Literal["keep", "ignore"]

NO_LABEL = "in no label's folder"
_UNLABELLED = ("_unlabeled", "_unlabelled")
"""Where FiftyOne puts images without a label."""
_CONTAINER = re.compile(r"(?i)(images?|imgs?|photos|pictures|pics|jpe?g|jpegimages|png|data|dataset)\d*")
"""What a folder of images is called that nobody means as a label."""
_PERIOD = re.compile(r"\W*((19|20)\d\d([-_.]?\d\d?){0,2}|\d+)\W*")
"""A year, a date or a number: a folder below a label that is named by one tells no labels apart."""


class Place(NamedTuple):
    """What a folder says about the images in it."""

    label: str
    split: Split | None


@dataclass(frozen=True)
class Layout:
    """Labels and splits by folder (relative paths, "" for the dataset's own), and what was guessed."""

    places: Mapping[str, Place]
    reasons: Mapping[str, str]
    """Folder -> why its images are no examples, where more is known than `NO_LABEL`."""
    around: str
    """The folder, relative, that the labels' folders (or the splits') lie in."""
    sentences: tuple[str, ...]
    """For the dataset's summary."""

    def place_of(self, folder: str) -> Place | str:
        """What a folder's images are, or why they are no examples."""
        folder = fold(folder)
        return self.places.get(folder) or self.reasons.get(folder, NO_LABEL)


def read_layout(
    images: Mapping[str, int], labels_from: LabelsFrom = "auto", own_split: OwnSplit = "keep"
) -> Layout:
    """What the folders mean that hold so many images each.

    `labels_from`: the label is the name of the first folder below those around everything (`top`), of the one an image
    lies in (`parent`), or the first one where that loses nothing (`auto`). `own_split`: `ignore` takes no folder for a
    split; one with a split's name and no label below it is a label then. Raises AmbiguousFoldersError.
    """
    found = find_labels(build_tree(images), keep_split=own_split == "keep")
    for name in _UNLABELLED:
        found.leave_out(found.level.pop(name, ()), f"in the folder of images without a label, '{name}'")
    labels = {name: level for name, level in found.level.items() if name.strip()}
    if labels_from == "auto":
        for name in [name for name in labels if _CONTAINER.fullmatch(name)]:
            found.leave_out(labels.pop(name), f"in no label's folder, but in '{name}'")
        _check_one_level(labels, found.around)
    places = {
        folder.path: Place(unicodedata.normalize("NFC", label), split if own_split == "keep" else None)
        for label, folder, split in _iterate_labelled(labels, parent=labels_from == "parent")
        if folder.images
    }
    sentences = tuple(_sentences(found, labels, places, own_split))
    return Layout(places, found.reasons, "/".join(found.around), sentences)


def _iterate_labelled(
    labels: Mapping[str, Level], *, parent: bool
) -> Iterator[tuple[str, Folder, Split | None]]:
    """Label, folder and split of all folders at and below the labels' level."""
    waiting = [
        (label.strip(), branch.folder, branch.split) for label, level in labels.items() for branch in level
    ]
    while waiting:
        label, folder, split = waiting.pop()
        yield label, folder, split
        for name, inner in folder.inner.items():
            named = split_named(name)
            deeper = name.strip() if parent and named is None and name.strip() else label
            waiting.append((deeper, inner, _stricter(split, named)))


def _stricter(outer: Split | None, inner: Split | None) -> Split | None:
    """Of two splits that folders name, the one that is farther from training."""
    named = [split for split in (outer, inner) if split is not None]
    return max(named, key=SPLITS.index) if named else None


def _order(name: str) -> int:
    return SPLITS.index(split_named(name) or "train")


def _check_one_level(labels: Mapping[str, Level], around: list[str]) -> None:
    """Raise AmbiguousFoldersError where the folders below a label look like labels themselves."""
    below = {label: _telling(level) for label, level in labels.items()}
    names = next(iter(below.values()), set())
    is_alike = len(below) > 1 and len(names) > 1 and all(inner == names for inner in below.values())
    if is_alike and not any(branch.folder.images for level in labels.values() for branch in level):
        raise AmbiguousFoldersError(
            f"Which folders are the labels? {name_some(sorted(labels))} hold {name_some(sorted(names))} each. "
            f"labels_from=top takes {name_some(sorted(labels))}; labels_from=parent takes the folders that the images "
            "lie in."
        )
    for label, level in labels.items():
        elsewhere = {name for other, names in below.items() if other != label for name in names}
        kinds = {re.sub(r"[\W\d_]+", "", name).casefold() for name in below[label] - elsewhere}
        if len(kinds) < 2 or any(branch.folder.images for branch in level):
            continue
        raise AmbiguousFoldersError(
            f"Which folders are the labels? '{'/'.join([*around, label])}' holds {name_some(sorted(below[label]))}. "
            f"labels_from=top takes {name_some(sorted(labels))}; labels_from=parent takes the folders that the images "
            "lie in; or send only the folder that holds the labels' folders."
        )


def _telling(level: Level) -> set[str]:
    """The names of the folders below a label that are neither a split's nor a period's."""
    return {name for name in inner_of(level) if split_named(name) is None and not _PERIOD.fullmatch(name)}


def _sentences(
    found: Labels, labels: Mapping[str, Level], places: Mapping[str, Place], own_split: OwnSplit
) -> Iterator[str]:
    names = {place.label for place in places.values()}
    if not names:
        return
    around = f" below {'/'.join(found.around)}" if found.around else ""
    alone = f" ({next(iter(names))})" if len(names) == 1 else ""
    yield f"{count_of(len(names), 'class')}{alone} from folders{around}"
    yield from found.sentences
    below = sorted({name for level in labels.values() for name in inner_of(level)} - names)
    splits = list(found.splits) or sorted(filter(split_named, below), key=_order)
    groups = [name for name in below if split_named(name) is None]
    if groups:
        yield f"folders below the classes carry no label: {name_some(groups)}"
    if splits and own_split == "ignore":
        yield f"own split {'/'.join(splits)} ignored"


__all__ = ["NO_LABEL", "AmbiguousFoldersError", "LabelsFrom", "Layout", "OwnSplit", "Place", "read_layout"]
