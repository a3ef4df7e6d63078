"""What every reader of annotations asks: which file a name means, and which split an example belongs to."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from app.folders.splits import SPLITS, Split, split_named, split_of_folders, split_of_path
from workers.datasets.naming import FileNames
from workers.datasets.records import MAX_TEXT_CHARACTERS, Remark

Boxes = Literal["whole", "crops"]
_IMAGE_FOLDERS = ("images", "data", "JPEGImages")


@dataclass
class Source:
    """A dataset's folder as the reader of one format sees it."""

    folder: Path
    names: FileNames
    boxes: Boxes
    annotations: Collection[str]
    """The annotation files that are read."""
    _said: set[str] = field(default_factory=set)
    _unknown_splits: set[str] = field(default_factory=set)

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

    def split(self, annotation: str, path: str, stated: Any = None) -> Split | None:
        """The split that a row states, else that of its annotation file and of its image's folders: where these
        differ, the one that models are judged on.
        """
        if stated not in (None, ""):
            if split := split_named(str(stated)):
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
        """What was guessed, once everything was read."""
        if self._unknown_splits:
            shown = ", ".join(f"'{name}'" for name in sorted(self._unknown_splits)[:5])
            yield Remark(f"the splits {shown} are no train, validation or test: they were not heeded")
        yield from self.names.remarks()
        yield from self.names.unnamed()


def shorten(text: str) -> str:
    """A text of an example, not longer than any may be."""
    return text.strip()[:MAX_TEXT_CHARACTERS]
