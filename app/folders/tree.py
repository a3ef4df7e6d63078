"""The folders of a dataset that hold images somewhere below, and the same place in several of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.folders.splits import Split

MAX_DEPTH = 32
"""Parts of a path that are distinguished; folders deeper down count as the one at this depth."""


@dataclass(slots=True)
class Folder:
    """A folder with its inner ones; `images` lie in it itself."""

    path: str
    """Relative, `/` between the parts; "" for the dataset's own folder."""
    images: int = 0
    inner: dict[str, Folder] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def all_images(self) -> int:
        """Images in it and below."""
        return self.images + sum(inner.all_images for inner in self.inner.values())

    def below(self) -> Iterator[Folder]:
        """Itself and every folder below."""
        yield self
        for inner in self.inner.values():
            yield from inner.below()


@dataclass(frozen=True)
class Branch:
    """A folder as part of a split, without the inner ones that are distinguished from it."""

    folder: Folder
    split: Split | None = None
    without: frozenset[str] = frozenset()


Level = Sequence[Branch]
"""Folders that stand for the same place, such as `train` and `test`: what lies below is looked at together."""


def fold(path: str) -> str:
    """A folder's path up to the depth that is distinguished."""
    return "/".join(path.split("/", MAX_DEPTH)[:MAX_DEPTH])


def build_tree(images: Mapping[str, int]) -> Folder:
    """The tree of the folders that hold so many images each."""
    root = Folder("")
    for path, count in sorted(images.items()):
        folder = root
        for part in fold(path).split("/") if path else ():
            inside = f"{folder.path}/{part}" if folder.path else part
            folder = folder.inner.setdefault(part, Folder(inside))
        folder.images += count
    return root


def inner_of(level: Level) -> dict[str, list[Branch]]:
    """By name, the inner folders of all branches, each in its branch's split."""
    found: dict[str, list[Branch]] = {}
    for branch in level:
        for name, folder in branch.folder.inner.items():
            if name not in branch.without:
                found.setdefault(name, []).append(Branch(folder, branch.split))
    return dict(sorted(found.items()))


def is_flat(level: Level) -> bool:
    """Whether no branch holds a folder."""
    return not any(branch.folder.inner.keys() - branch.without for branch in level)
