"""What is in a folder: files that are read, and what is left out with the reason, so that nothing is in silence.

Links are followed while they stay in the folder. Knows names and links; opens no file.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from app.cli import output

_MAX_NAMED = 3
"""Links that are named one by one."""


@dataclass
class FolderContents:
    """The regular files below a folder, sorted, and what else lies there."""

    folder: Path
    files: list[Path] = field(default_factory=list)
    hidden: int = 0
    """Files and folders whose names begin with a dot."""
    outside: list[Path] = field(default_factory=list)
    """Links that lead out of the folder."""
    broken: list[Path] = field(default_factory=list)
    """Links that lead nowhere or back to a folder around them, and what cannot be opened."""
    special: int = 0
    """Pipes, sockets and devices."""

    def reasons(self) -> list[str]:
        """What was left out and why, a phrase each."""
        return [
            *([f"{self.hidden} hidden"] if self.hidden else []),
            *self._name(self.outside, "leads outside the folder", "lead outside the folder"),
            *self._name(self.broken, "leads nowhere", "lead nowhere"),
            *([f"{self.special} no regular files"] if self.special else []),
        ]

    @property
    def left_out(self) -> int:
        """How many things are not among the files."""
        return self.hidden + len(self.outside) + len(self.broken) + self.special

    def _name(self, links: list[Path], one: str, several: str) -> list[str]:
        if not links:
            return []
        names = [str(path.relative_to(self.folder)) for path in links[:_MAX_NAMED]]
        more = f" and {len(links) - _MAX_NAMED} more" if len(links) > _MAX_NAMED else ""
        return [f"{', '.join(names)}{more} {one if len(links) == 1 else several}"]


def read_folder(folder: Path) -> FolderContents:
    """Look through a folder and all below it."""
    contents = FolderContents(folder)
    root = folder.resolve()
    _read(folder, root, [root], contents)
    contents.files.sort()
    return contents


def count_suffixes(files: list[Path]) -> str:
    """How many files have each suffix, the commonest first."""
    counts = Counter(file.suffix.lower() or "no suffix" for file in files)
    return ", ".join(f"{suffix} {count}" if count > 1 else suffix for suffix, count in counts.most_common(5))


def say_left_out(folder: Path, count: int, reasons: list[str]) -> None:
    """Say how many things of a folder are not read and why; nothing where there are none."""
    if count:
        output.say(f"Left out of {folder}: {count} ({'; '.join(reasons)})")


def _read(folder: Path, root: Path, around: list[Path], contents: FolderContents) -> None:
    """Look through one folder; `around` are the real folders that it lies in, itself included."""
    try:
        with os.scandir(folder) as entries:
            names = [(entry.name, entry.is_symlink()) for entry in entries]
    except OSError:
        contents.broken.append(folder)
        return
    for name, is_link in names:
        path = folder / name
        if name.startswith("."):
            contents.hidden += 1
            continue
        real = path.resolve() if is_link else path
        if is_link and not real.is_relative_to(root):
            contents.outside.append(path)
        elif path.is_dir():
            inner = path.resolve()
            if inner in around:
                contents.broken.append(path)
            else:
                _read(path, root, [*around, inner], contents)
        elif path.is_file():
            contents.files.append(path)
        elif is_link:
            contents.broken.append(path)
        else:
            contents.special += 1
