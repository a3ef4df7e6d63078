"""Ids and file names as people write them: which file of a dataset a name means, and when two ids are one."""

from __future__ import annotations

import math
import posixpath
import re
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from app.folders.splits import split_named
from workers.datasets.records import Remark, files_below, is_image, to_plain

MAX_NAME_CHARACTERS = 4_096
_WHOLE_NUMBER = re.compile(r"[+-]?\d+(\.0*)?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_COUNTER = re.compile(r"#\d+$")
"""Flickr8k's number of a caption, behind its image's name."""
_DRIVE = re.compile(r"[A-Za-z]:/")
_MAX_SHOWN_CHARACTERS = 100
_MAX_CANDIDATES = 1_000
"""Files of one name that are compared; more are distinguished by their folder's name first."""
_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE files (path TEXT PRIMARY KEY, leaf TEXT, pair TEXT, stem TEXT, number TEXT, named TEXT) WITHOUT ROWID;
CREATE TABLE folders (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_QUERIES = {
    "leaf": "SELECT path FROM files WHERE leaf = ? ORDER BY path LIMIT ?",
    "pair": "SELECT path FROM files WHERE pair = ? ORDER BY path LIMIT ?",
    "stem": "SELECT path FROM files WHERE stem = ? ORDER BY path LIMIT ?",
    "number": "SELECT path FROM files WHERE number = ? ORDER BY path LIMIT ?",
}
_GUESSES = {
    "end": "images were found by the end of the path that names them",
    "stem": "images were found by their name without its suffix",
    "number": "images were found by the number that their name is",
}


class UnmatchedNameError(Exception):
    """A name means no file, or more than one; the message is a refusal's reason."""

    def __init__(self, name: str, *could_be: str) -> None:
        self.several = bool(could_be)
        shown = name[:_MAX_SHOWN_CHARACTERS]
        files = " or ".join(f"'{path}'" for path in could_be)
        super().__init__(
            f"its image may be several files: '{shown}' could be {files}"
            if files
            else f"its image '{shown}' is not there"
        )


def id_key(value: Any) -> str | None:
    """An id under which 3, 3.0, "3", "3.0" and "0003" are the same; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value.is_integer() else str(value)
    text = to_plain(str(value)).strip()
    if _WHOLE_NUMBER.fullmatch(text):
        sign = "-" if text.startswith("-") else ""
        return sign + (text.lstrip("+-").partition(".")[0].lstrip("0") or "0")
    return text or None


def exact_id(value: Any) -> str | None:
    """An id as it is written, whether as a number or as text."""
    return None if id_key(value) is None else to_plain(str(value)).strip()


def inside(folder: Path, name: str, *bases: str) -> str | None:
    """The relative path of a file that a dataset names, looked for below `bases` in order; None where there is
    none or where the name leads out of the folder.
    """
    root = folder.resolve()
    for base in bases:
        try:
            candidate = (root / base / name).resolve()
            if candidate.is_relative_to(root) and candidate.is_file():
                return candidate.relative_to(root).as_posix()
        except (OSError, ValueError):  # too long, or with a NUL in it: no file has such a name
            return None
    return None


class FileNames:
    """The image files of a dataset, found by whatever names them, and which of them were named.

    Held in a scratch file of SQLite's own, so that a million of them take no memory. One thread uses it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._guesses = Counter[str]()
        self._shown: dict[str, str] = {}
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.executescript(_TABLES)
        self._base.execute("BEGIN")
        self._base.executemany(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, NULL)",
            (_row(path) for path in files_below(folder) if is_image(path) and not _leads_out(folder, path)),
        )
        folders = (
            (part,) for (path,) in self._base.execute("SELECT path FROM files") for part in _parts(path)[:-1]
        )
        self._base.executemany("INSERT OR IGNORE INTO folders VALUES (?)", folders)
        for column in ("leaf", "pair", "stem", "number"):
            self._base.execute(f"CREATE INDEX by_{column} ON files ({column})")

    def close(self) -> None:
        """Let the scratch file go."""
        self._base.close()

    def find(self, name: str, *bases: str) -> str:
        """The path of the file that `name` means, relative to the dataset's folder.

        It is looked for below `bases` in their order, as it is written, then with the slashes of other systems and
        without percent signs, then by the end of its path whatever the case and the composition of its letters, and
        then by its stem or the number that this is. Raises UnmatchedNameError where no file is left, or several.
        """
        name = to_plain(name)
        path, guess = self._match(name, bases)
        meant = "/".join(_parts(name.replace("\\", "/")))
        (claimed,) = self._base.execute("SELECT named FROM files WHERE path = ?", (path,)).fetchone() or (
            None,
        )
        if guess is None:
            meant = "/".join(_parts(path))
        elif claimed is not None and not _agree(
            claimed, meant
        ):  # of two images of one name only one is there
            raise UnmatchedNameError(name)
        else:
            self._guesses[guess] += 1
            self._shown.setdefault(guess, f"'{name[:_MAX_SHOWN_CHARACTERS]}' as '{path}'")
        if claimed is None:
            self._base.execute("UPDATE files SET named = ? WHERE path = ?", (meant, path))
        return path

    def knows(self, name: str, *bases: str) -> bool:
        """Whether `name` means one file or several."""
        try:
            self._match(to_plain(name), bases)
        except UnmatchedNameError as error:
            return error.several
        return True

    def count(self) -> int:
        """How many image files there are."""
        return int(self._base.execute("SELECT count(*) FROM files").fetchone()[0])

    def remarks(self) -> Iterator[Remark]:
        """What was guessed so far."""
        for guess, count in self._guesses.items():
            yield Remark(f"{count} {_GUESSES[guess]}, such as {self._shown[guess]}")

    def report_unnamed(self) -> Iterator[Remark]:
        """How many image files no annotation named."""
        count, first = self._base.execute(
            "SELECT count(*), min(path) FROM files WHERE named IS NULL"
        ).fetchone()
        if count:
            yield Remark(f"{count} image files are named by no annotation and left out, such as '{first}'")

    def _match(self, name: str, bases: tuple[str, ...]) -> tuple[str, str | None]:
        """The path and what was guessed; raises UnmatchedNameError."""
        spellings = list(_spellings(name)) if len(name) <= MAX_NAME_CHARACTERS else []
        for spelling in spellings:
            if path := self._by_path(spelling, bases):
                return path, None
        for find in (self._by_end, self._by_stem):
            for spelling in spellings:
                path, guess = find(spelling, bases)
                if path and (path := inside(self.folder, path, ".")):  # no link out of the folder
                    return path, guess
        raise UnmatchedNameError(name)

    def _by_path(self, name: str, bases: tuple[str, ...]) -> str | None:
        """The file of exactly this path below a base; the first two may hold it under a name that is no image's."""
        for base in dict.fromkeys(bases):
            path = posixpath.normpath(posixpath.join(base, name))
            if self._base.execute("SELECT 1 FROM files WHERE path = ?", (path,)).fetchone():
                return inside(self.folder, path, ".")
        return None if is_image(name) else inside(self.folder, name, *bases[:2])

    def _by_end(self, name: str, bases: tuple[str, ...]) -> tuple[str | None, str | None]:
        wanted = _parts(name)
        found = self._paths("pair", "/".join(wanted[-2:])) if len(wanted) > 1 else []
        found = found or self._paths("leaf", wanted[-1])
        shared = {path: _count_shared_end(wanted, _parts(path)) for path in found}
        longest = max(shared.values(), default=0)
        found = [path for path in found if shared[path] == longest]
        if len(found) > 1:
            found = _narrow(found, name, longest, bases)
        if not found:
            return None, None
        lengths = (len(wanted), len(_parts(found[0])))
        if not self._is_moved(wanted, _parts(found[0]), longest):
            return None, None
        if len(found) > 1:
            raise UnmatchedNameError(name, *found[:2])
        below = {f"{_plain(base)}/" for base in bases if base != "."}
        same = lengths == (longest, longest) or any(
            "/".join(_parts(found[0])) == base + "/".join(wanted) for base in below
        )
        return found[0], None if same else "end"

    def _is_moved(self, wanted: list[str], path: list[str], shared: int) -> bool:
        """Whether a file may be what a name means with which it shares the last parts only: where they begin to
        differ the named folder is not there, so that the image may have come out of it, and neither says another split.
        """
        if shared in (len(wanted), len(path)):
            return True
        folder = wanted[len(wanted) - max(shared, 1) - 1]
        known = self._base.execute("SELECT 1 FROM folders WHERE name = ?", (folder,)).fetchone()
        said, lies = (
            next((split for part in parts[:-1] if (split := split_named(part))), None)
            for parts in (wanted, path)
        )
        return known is None and (said is None or lies is None or said == lies)

    def _by_stem(self, name: str, _: tuple[str, ...]) -> tuple[str | None, str | None]:
        """For names without a suffix or with another one, such as those of an annotation made before a conversion."""
        leaf, folders = PurePosixPath(name).name, _parts(name)[:-1]
        stem = _plain(PurePosixPath(leaf).stem if is_image(leaf) else leaf)
        number = id_key(stem) or ""
        for guess, key in (("stem", stem), ("number", number if number.isdigit() else "")):
            found = self._paths(guess, key) if key else []
            shared = {path: _count_shared_end(folders, _parts(path)[:-1]) for path in found}
            longest = max(shared.values(), default=0)
            found = [path for path in found if shared[path] == longest]
            if found and not self._is_moved([*folders, key], _parts(found[0]), shared[found[0]] + 1):
                continue
            if len(found) > 1:
                raise UnmatchedNameError(name, *found[:2])
            if found:
                return found[0], guess
        return None, None

    def _paths(self, column: str, key: str) -> list[str]:
        return [path for (path,) in self._base.execute(_QUERIES[column], (key, _MAX_CANDIDATES))]


def _leads_out(folder: Path, path: str) -> bool:
    return (folder / path).is_symlink() and inside(folder, path, ".") is None


def _row(path: str) -> tuple[str, str, str, str, str | None]:
    parts = _parts(path)
    stem = PurePosixPath(parts[-1]).stem
    return path, parts[-1], "/".join(parts[-2:]), stem, id_key(stem) if stem.isdigit() else None


def _plain(text: str) -> str:
    """Without the differences that file systems make: case, and accents as letters of their own."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _parts(path: str) -> list[str]:
    return [part for part in _plain(path).split("/") if part not in ("", ".")]


def _agree(claimed: str, meant: str) -> bool:
    """Whether two names that lead to one file may be of the same image: they differ in how far back they go only."""
    (*before, leaf), (*now, other) = claimed.split("/"), meant.split("/")
    stems = {id_key(PurePosixPath(name).stem if is_image(name) else name) for name in (leaf, other)}
    return len(stems) == 1 and _count_shared_end(before, now) == min(len(before), len(now))


def _count_shared_end(left: list[str], right: list[str]) -> int:
    count = 0
    for name, other in zip(reversed(left), reversed(right), strict=False):
        if name != other:
            break
        count += 1
    return count


def _narrow(found: list[str], name: str, longest: int, bases: tuple[str, ...]) -> list[str]:
    """Those of several files that are spelt as the name is, and those in the annotation's own folder."""
    end = "/".join(name.split("/")[-longest:])
    found = [path for path in found if f"/{path}".endswith(f"/{end}")] or found
    here = bases[0] if bases else "."
    near = [path for path in found if here != "." and path.startswith(f"{here}/")]
    return near if len(near) == 1 else found


def _spellings(name: str) -> Iterator[str]:
    """The name as it is, without white space around it, with slashes, without scheme and host, and without percent
    signs.
    """
    seen = [name, name.strip()]
    slashed = name.strip().replace("\\", "/")
    if _SCHEME.match(slashed):
        with suppress(ValueError):  # no address after all, such as one with half of a bracket
            slashed = urlsplit(slashed).path
    elif _DRIVE.match(slashed):
        slashed = slashed[2:]
    seen += [slashed, unquote(slashed), _COUNTER.sub("", slashed)]
    yield from dict.fromkeys(spelling for spelling in seen if spelling.strip("/. "))
