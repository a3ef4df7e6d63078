"""Counts that the processes of one service keep together: a file that each of them maps, with a row for each of them.

A process writes cells of its own row and reads everybody's, so that no lock is needed, and what a process held that
was killed goes when its parent clears its row.
"""

from __future__ import annotations

import mmap
import os
import zlib
from enum import IntEnum
from pathlib import Path

_NAMES = ("connections", "uploads", "spool_bytes", "followers", "default_model")
_WORKSPACE_CELLS = 256
_COLLECTION_CELLS = 1_024
_FIRST_WORKSPACE = len(_NAMES)
_IN_FLIGHT = ("images", "questions")
_FIRST_IN_FLIGHT = _FIRST_WORKSPACE + _WORKSPACE_CELLS
_FIRST_COLLECTION = _FIRST_IN_FLIGHT + len(_IN_FLIGHT) * _WORKSPACE_CELLS
_COLUMNS = _FIRST_COLLECTION + _COLLECTION_CELLS
_CELL_BYTES = 8


class ModelState(IntEnum):
    """How an engine's default model is; the cell of an engine that is not running holds 0."""

    ABSENT = 0
    LOADING = 1
    LIVE = 2
    FAILED = 3
    ELSEWHERE = 4
    """Another engine has it."""


class Tally:
    """One count: this process's part of it, and everybody's together."""

    def __init__(self, cells: memoryview, row: int, column: int) -> None:
        self._cells = cells
        self._own = row * _COLUMNS + column
        self._column = column

    @property
    def own(self) -> int:
        """The counts of this process."""
        return int(self._cells[self._own])

    @own.setter
    def own(self, count: int) -> None:
        self._cells[self._own] = count

    def add(self, count: int) -> None:
        """Change this process's part; one thread at a time."""
        self._cells[self._own] += count

    @property
    def parts(self) -> list[int]:
        """The counts of every process."""
        return self._cells[self._column :: _COLUMNS].tolist()

    @property
    def others(self) -> list[int]:
        """The parts of the other processes."""
        parts = self.parts
        del parts[self._own // _COLUMNS]
        return parts

    @property
    def total(self) -> int:
        """The sum over all processes."""
        return sum(self._cells[self._column :: _COLUMNS])


class InFlight:
    """How much of one kind each workspace has under way, in all processes together; for one thread."""

    def __init__(self, cells: memoryview, row: int, column: int) -> None:
        import numpy as np  # the parent, which keeps no such counts, does without

        table = np.frombuffer(cells, np.int64).reshape(-1, _COLUMNS)
        self._all = table[:, column : column + _WORKSPACE_CELLS]
        self._own = self._all[row]

    def add(self, workspace: str, count: int) -> None:
        """Add to the count of this process."""
        self._own[_hash(workspace) % _WORKSPACE_CELLS] += count

    def is_behind(self, workspace: str) -> bool:
        """Whether another workspace has more under way; of the few that share a cell all or none."""
        totals = self._all.sum(axis=0)
        return bool(totals[_hash(workspace) % _WORKSPACE_CELLS] < totals.max())


class Tallies:
    """The counts of one service, as one of its processes sees them."""

    def __init__(self, cells: memoryview, row: int = 0) -> None:
        self._cells = cells
        self._row = row

    @classmethod
    def alone(cls) -> Tallies:
        """Those of a service of one process."""
        return cls(memoryview(bytearray(_COLUMNS * _CELL_BYTES)).cast("q"))

    @classmethod
    def create(cls, path: Path, rows: int) -> Tallies:
        """Make the file, all zero, for that many processes."""
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "r+b") as file:
            file.truncate(rows * _COLUMNS * _CELL_BYTES)
            if hasattr(os, "posix_fallocate"):  # not on macOS
                # a page that finds no room on the disk when it is written first would end the process (SIGBUS)
                os.posix_fallocate(file.fileno(), 0, rows * _COLUMNS * _CELL_BYTES)
        return cls.open(path, 0)

    @classmethod
    def open(cls, path: Path, row: int) -> Tallies:
        """Map a file that was made; this process writes the row of that number."""
        with path.open("r+b") as file:
            return cls(memoryview(mmap.mmap(file.fileno(), 0)).cast("q"), row)

    def get(self, name: str) -> Tally:
        """The count of that name: `connections`, `uploads`, `spool_bytes`, `followers` or `default_model`."""
        return Tally(self._cells, self._row, _NAMES.index(name))

    def followers_of(self, workspace: str) -> Tally:
        """Clients of one workspace that follow jobs, together with those of the few it shares its cell with."""
        return Tally(self._cells, self._row, _FIRST_WORKSPACE + _hash(workspace) % _WORKSPACE_CELLS)

    def in_flight(self, kind: str) -> InFlight:
        """What workspaces have under way of a kind: `images` or `questions`."""
        column = _FIRST_IN_FLIGHT + _IN_FLIGHT.index(kind) * _WORKSPACE_CELLS
        return InFlight(self._cells, self._row, column)

    def changes_of(self, workspace: str, collection: str) -> Tally:
        """Grows with each change of the collection, or of one of the few it shares its cell with."""
        place = _hash(f"{workspace}/{collection}") % _COLLECTION_CELLS
        return Tally(self._cells, self._row, _FIRST_COLLECTION + place)

    def clear(self, row: int) -> None:
        """Forget what a process held that has ended; the changes it counted go on being counted."""
        start = row * _COLUMNS
        self._cells[start : start + _FIRST_COLLECTION] = memoryview(
            bytes(_FIRST_COLLECTION * _CELL_BYTES)
        ).cast("q")


def _hash(text: str) -> int:
    """The same in every process, which `hash` is not."""
    return zlib.crc32(text.encode())
