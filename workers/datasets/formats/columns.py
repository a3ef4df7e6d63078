"""Which column of a table names the images, and which one says the split."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import PurePosixPath
from typing import Any

from app.folders.splits import SPLITS, Split, split_named
from workers.datasets.formats import fields as names
from workers.datasets.naming import id_key
from workers.datasets.records import is_image

FLAGS: dict[str, Split] = {
    **dict.fromkeys(("is_train", "is_training", "is_training_image"), "train"),
    **dict.fromkeys(("is_valid", "is_val", "is_validation"), "validation"),
    **dict.fromkeys(("is_test", "is_testing"), "test"),
}
"""Fields that say yes or no to one split."""
_LIKELY = ("data_set", "dataset", "mode", "stage", "group")
"""Fields that are as often something else: a split where their values are the names of splits."""
MIN_IMAGE_SHARE = 0.5
"""Of a column's values in the sample that mean files, from which on it is the one that names images."""
_EMPTY = ("nan", "none", "null", "n/a")
"""What tools write into a cell that says nothing."""
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
_FRACTION_OF_NOTHING = re.compile(r"\.0*\Z")
_YES, _NO = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")
_TAUGHT = (*names.LABELS, *names.CAPTIONS, *names.QUESTIONS, *names.ANSWERS)


class AmbiguousColumnsError(ValueError):
    """Two columns of a table name images, and not the same ones."""


def choose_image(
    titles: Sequence[str], columns: Sequence[Sequence[str]], shares: Sequence[float]
) -> int | None:
    """The place of the column that names the images, where `shares` of the values mean files.

    Values that end like image files go before those matched by their stem or number, known titles before others, and
    of ids those that do not repeat. Raises AmbiguousColumnsError where two columns are alike in that and disagree.
    """

    def fit(place: int) -> tuple[bool, int, bool]:
        cells, title = columns[place], titles[place]
        has_suffix = sum(map(names.mentions_image, cells)) * 2 > len(cells)
        known = 2 if title in names.IMAGES else 1 if title in names.IDS else -1 if title in _TAUGHT else 0
        return has_suffix, known, has_suffix or len(set(cells)) == len(cells)

    fits = {place: fit(place) for place, share in enumerate(shares) if share}
    fits = {
        place: found
        for place, found in fits.items()
        if found[0] or (titles[place] and shares[place] >= MIN_IMAGE_SHARE)
    }
    if not fits:
        return None
    highest = max(fits.values())
    best = [place for place, found in fits.items() if found == highest]
    for left, right in combinations(best, 2):
        if any(_differ(*cells) for cells in zip(columns[left], columns[right], strict=True)):
            raise AmbiguousColumnsError(
                f"its columns '{titles[left]}' and '{titles[right]}' both name images, and not the same ones: keep one"
            )
    return max(best, key=lambda place: shares[place])


def _differ(left: str, right: str) -> bool:
    stems = [id_key(_stem(cell)) for cell in (left, right) if cell]
    return len(stems) == 2 and stems[0] != stems[1]


def _stem(cell: str) -> str:
    leaf = PurePosixPath(cell.replace("\\", "/")).name
    return (PurePosixPath(leaf).stem if is_image(leaf) else leaf).casefold()


def split_column(cells: Mapping[str, Sequence[str]], image: str) -> str | None:
    """The column that says the split without one of the usual titles: all its values are splits' names, of a title
    that says nothing two different ones. None where there is none, or nothing but it could be the label.
    """
    if any(title in names.SPLITS or title in FLAGS for title in cells):
        return None
    others = [title for title in cells if title and title not in (image, *names.IMAGES, *names.IDS)]
    if len(others) < 2:
        return None
    for title in sorted(others, key=lambda title: title not in _LIKELY):
        splits = {split_named(cell) for cell in cells[title] if cell}
        if title not in _TAUGHT and None not in splits and len(splits) >= (1 if title in _LIKELY else 2):
            return title
    return None


def find_stated_split(values: Mapping[str, Any]) -> tuple[str, Any] | tuple[None, None]:
    """The field of a row that states its split, and what it says."""
    field, stated = names.first(values, names.SPLITS)
    if field is not None:
        return field, stated
    said = {name: str(values[name]).lower() for name in FLAGS if name in values}
    if said and all(value in _YES + _NO for value in said.values()):
        chosen = [name for name, value in said.items() if value in _YES]
        if chosen:
            name = max(chosen, key=lambda name: SPLITS.index(FLAGS[name]))
            return name, FLAGS[name]
        denied = {FLAGS[name] for name in said}
        rest: Split | None = "train" if "train" not in denied else "test" if "test" not in denied else None
        return (next(iter(said)), rest) if rest else (None, None)
    named = ((name, values[name]) for name in _LIKELY if name in values)
    return next(((name, value) for name, value in named if split_named(str(value))), (None, None))


def says_nothing(cell: str) -> bool:
    """Whether a label's cell is empty, or holds what tools write into such a one."""
    return cell.strip().casefold() in ("", *_EMPTY)


def is_number(cell: str) -> bool:
    """Whether a label is a number."""
    return _NUMBER.fullmatch(cell) is not None


def whole(cell: str) -> str:
    """A number without a fraction that is none: `0.0` is `0`."""
    return _FRACTION_OF_NOTHING.sub("", cell)
