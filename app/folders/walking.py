"""The files of a folder, in one order everywhere, and what of it is left out and why.

Links are followed as long as they stay inside the folder. Hidden files and what systems and archivers add are left out.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.folders.words import name_some

_HIDDEN = "hidden"
_LITTER = "added by a system"
_OUTSIDE = "a link out of the folder"
_BROKEN = "a link to nothing"
_LOOP = "a link to a folder around it"
_AGAIN = "a link, inside a linked folder, to a folder that was seen"
_SPECIAL = "no regular file"
_UNREADABLE = "not readable"
_LITTER_NAMES = re.compile(
    r"(?i)thumbs\.db|ehthumbs\.db|desktop\.ini|icon\r|icon\uf00d|__macosx.*|\$recycle\.bin|@eadir"
)
_MAX_SHOWN = 1_000


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not looked at."""

    path: str
    reason: str


@dataclass
class Walk:
    """The files below a folder (iterate over it); what was left out is known once it is at its end."""

    folder: Path
    left_out: list[LeftOut] = field(default_factory=list)
    """The first thousand, in order."""
    counts: Counter[str] = field(default_factory=Counter)
    """How many files and folders were left out, by reason."""

    def __iter__(self) -> Iterator[str]:
        """Relative paths, `/` between the parts, folder by folder in the order of their names."""
        self.left_out.clear()
        self.counts.clear()
        root = os.path.realpath(self.folder)
        linked: set[str] = set()
        waiting = [(name, False) for name in self._names(root, "")]
        while waiting:
            path, in_link = waiting.pop()
            full = os.path.join(root, path)
            reason = _litter(path.rpartition("/")[2])
            mode = None if reason else _mode(full)
            if mode is not None and stat.S_ISLNK(mode):
                reason, mode = _follow(full, root, linked if in_link else set())
                in_link = True
            if reason is None and mode is not None and stat.S_ISDIR(mode):
                waiting += [(name, in_link) for name in self._names(full, f"{path}/")]
            elif reason is None and mode is not None and stat.S_ISREG(mode):
                yield path
            else:
                self._leave(path, reason or (_UNREADABLE if mode is None else _SPECIAL))

    def _names(self, folder: str, prefix: str) -> list[str]:
        """The paths of what is in a folder, the last one first."""
        try:
            return [prefix + name for name in sorted(os.listdir(folder), reverse=True)]
        except OSError:
            self._leave(prefix.rstrip("/") or ".", _UNREADABLE)
            return []

    def _leave(self, path: str, reason: str) -> None:
        self.counts[reason] += 1
        if len(self.left_out) < _MAX_SHOWN:
            self.left_out.append(LeftOut(path, reason))


def say_left_out(folder: Path) -> list[str]:
    """What a walk leaves out of a folder: a sentence a reason, with the first names and how many more there are."""
    walk, sentences = Walk(folder), []
    for _ in walk:
        pass
    for reason, count in walk.counts.items():
        names = name_some([entry.path for entry in walk.left_out if entry.reason == reason], count)
        sentences.append(f"{names} left out: {reason}")
    return sentences


def _litter(name: str) -> str | None:
    if _LITTER_NAMES.fullmatch(name):
        return _LITTER
    return _HIDDEN if name.startswith(".") else None


def _mode(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return None


def _follow(path: str, root: str, linked: set[str]) -> tuple[str | None, int | None]:
    """Why a link is not followed, or None with what it leads to. A folder is followed once from within linked ones,
    whose number would otherwise multiply.
    """
    target = os.path.realpath(path)
    if target != root and not target.startswith(root.rstrip(os.sep) + os.sep):
        return _OUTSIDE, None
    try:
        mode = os.stat(target).st_mode
    except OSError:
        return _BROKEN, None
    if stat.S_ISDIR(mode):
        around = os.path.realpath(os.path.dirname(path))
        if around == target or around.startswith(target.rstrip(os.sep) + os.sep):
            return _LOOP, None
        if target in linked:
            return _AGAIN, None
        linked.add(target)
    return None, mode
