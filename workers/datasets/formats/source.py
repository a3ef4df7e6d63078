"""What every reader of annotations asks: which file a name means, and which split an example belongs to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from app.folders.splits import SPLITS, Split, split_named, split_of_folders, split_of_path
from app.jobs.errors import NotTrainableError
from workers.datasets.formats.columns import find_stated_split
from workers.datasets.formats.fields import SPLITS as SPLIT_FIELDS
from workers.datasets.naming import FileNames
from workers.datasets.records import MAX_TEXT_CHARACTERS, Remark

Boxes = Literal["whole", "crops"]
_KAGGLE: dict[str, Split] = {"publictest": "validation", "privatetest": "test"}
_IMAGE_FOLDERS = ("images", "data", "JPEGImages")


@dataclass
class Source:
    """A dataset's folder as the reader of one format sees it."""

    folder: Path
    names: FileNames
    boxes: Boxes
    annotations: Collection[str]
    """The annotation files that are read."""
    keeps_split: bool = True
    """Whether the splits that rows state count."""
    _said: set[str] = field(default_factory=set)
    _unknown_splits: set[str] = field(default_factory=set)
    _split_guesses: set[str] = field(default_factory=set)
    _has_known_split: bool = False

    def find(self, annotation: str, name: str) -> str:
        """The path of the image that an annotation file names; raises UnmatchedNameError."""
        here = str(PurePosixPath(annotation).parent)
        words = PurePosixPath(annotation).stem.replace("-", "_").split("_")
        below = [
            base
            for near in (here, ".", f"{here}/..")
            for base in (near, *(f"{near}/{name}" for name in _IMAGE_FOLDERS))
        ]
        return self.names.find(name, *below, words[-1], f"images/{words[-1]}")

    def split_of_row(self, annotation: str, path: str, values: Mapping[str, Any]) -> Split | None:
        """The split of a row's image: `values` are the row's under normalised names."""
        column, stated = find_stated_split(values)
        if column is not None and column not in SPLIT_FIELDS:
            self._split_guesses.add(f"split read from the column '{column}' of {annotation}")
        return self.split(annotation, path, stated)

    def split(self, annotation: str, path: str, stated: Any = None) -> Split | None:
        """The split that a row states, else that of its annotation file and of its image's folders: where these
        differ, the one that models are judged on.
        """
        if stated not in (None, ""):
            if split := split_named(str(stated)):
                self._has_known_split = True
                return split
            if split := _KAGGLE.get(str(stated).strip().casefold()):
                self._has_known_split = True
                self._split_guesses.add(f"the split '{str(stated).strip()}' was taken as {split}")
                return split
            self._unknown_splits.add(str(stated)[:50])
        found = {split_of_path(annotation, self.annotations), split_of_folders(path)}
        return max((split for split in found if split), key=SPLITS.index, default=None)

    def say(self, sentence: str) -> Iterator[Remark]:
        """A remark, the first time that it is due."""
        if sentence not in self._said:
            self._said.add(sentence)
            yield Remark(sentence)

    def remarks(self) -> Iterator[Remark]:
        """What was guessed, once everything was read. Raises NotTrainableError where rows state splits of which none
        is known: a split made anew could train on what is meant for tests.
        """
        if self.keeps_split:
            yield from map(Remark, sorted(self._split_guesses))
        if self._unknown_splits and self.keeps_split:
            shown = ", ".join(f"'{name}'" for name in sorted(self._unknown_splits)[:5])
            if not self._has_known_split:
                raise NotTrainableError(
                    f"The splits {shown} are no train, validation or test. own_split=ignore splits all of it anew; "
                    "or name them train, validation and test."
                )
            yield Remark(f"the splits {shown} are no train, validation or test: they were ignored")
        yield from self.names.remarks()
        yield from self.names.report_unnamed()


def shorten(text: str) -> str:
    """A text of an example, not longer than any may be."""
    return text.strip()[:MAX_TEXT_CHARACTERS]
