"""The numbers of a service of several processes, whichever of them is asked.

Each process counts in files of its own below one folder, under a name that it keeps when it is started again, so that
no counter falls when one is killed. Figures of the processes themselves carry the name as the label `process`.

The files are mapped, and a process that writes to a page of one that finds no room on the disk is killed (SIGBUS): so
room is reserved before, and what a process that ends leaves is emptied, not removed, for the next one to take.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, values
from prometheus_client.core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_KINDS = ("counter", "histogram", "gauge_livesum")
"""What the library names files after."""
_RESERVED_BYTES = 1 << 18
"""Of each file: several times what all routes, stages and a dozen models take."""
_PID_BYTES = 20
_ENTRY_BYTES = 32
"""What one value takes beside its key, at most."""


@dataclass(frozen=True)
class SharedMetrics:
    """One process's part of them."""

    folder: Path
    process: str

    def begin(self) -> None:
        """From now on count in this process's files; metrics that were made before are not shared."""
        os.environ[_VARIABLE] = str(self.folder)
        values.MmapedDict = _ReservedFile  # type: ignore[attr-defined]
        values.ValueClass = values.MultiProcessValue(lambda: self.process)  # type: ignore[no-untyped-call]
        for kind in _KINDS:
            _reserve(self.folder / f"{kind}_{self.process}.db", _RESERVED_BYTES)
        self.note()

    def note(self) -> None:
        """From now on show this process's figures."""
        self._write_pid(str(os.getpid()))

    def end(self) -> None:
        """That process has ended: what it counted stays, its figures and what waited in it go."""
        for path in self.folder.glob(f"gauge_live*_{self.process}.db"):
            with path.open("r+b") as file:
                file.write(bytes(8))  # how much of it is used
        self._write_pid("")

    def _write_pid(self, pid: str) -> None:
        handle = os.open(self.folder / f"{self.process}.pid", os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pid.ljust(_PID_BYTES).encode())

    def list_known_models(self) -> Iterator[str]:
        """Models that this process counted for before it was started again."""
        for path in self.folder.glob(f"*_{self.process}.db"):
            read = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
            for key, _, _, _ in read:
                if model := json.loads(key)[2].get("model"):
                    yield model

    def register(self, registry: CollectorRegistry) -> None:
        """Let `registry` collect what all processes counted, and their figures."""
        MultiProcessCollector(registry, path=str(self.folder))  # type: ignore[no-untyped-call]
        registry.register(_Processes(self.folder))


class _ReservedFile(MmapedDict):
    """The library's mapped file, which grows only where there is room; values without room are kept in memory alone
    until there is.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            _reserve(Path(filename), _RESERVED_BYTES)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def read_value(self, key: str) -> tuple[float, float]:
        found: tuple[float, float] = (0.0, 0.0)
        if self._has_room(key):
            found = super().read_value(key)  # type: ignore[no-untyped-call]
        return found

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        if self._has_room(key):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def _has_room(self, key: str) -> bool:
        if key in self._positions or self._used + len(key.encode()) + _ENTRY_BYTES <= self._capacity:
            return True
        try:
            _reserve(Path(self._fname), 2 * self._capacity)
        except OSError:
            return False
        return True


def _reserve(path: Path, size: int) -> None:
    """Make the file, where there is none, and have room for so many bytes of it; raises OSError.

    Systems without a call for that, such as macOS, take the room as the file is written.
    """
    with path.open("ab") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(size, os.fstat(file.fileno()).st_size))


class _Processes:
    """Memory, CPU time and open files of each process of the service."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        found: dict[str, Metric] = {}
        for file in sorted(self._folder.glob("*.pid")):
            with suppress(OSError, ValueError):  # it has just ended
                figures = ProcessCollector(pid=partial(int, file.read_text()), registry=None)
                # each metric of one process has one sample without labels
                for metric in figures.collect():
                    merged = found.setdefault(
                        metric.name, Metric(metric.name, metric.documentation, metric.type)
                    )
                    for sample in metric.samples:
                        merged.add_sample(sample.name, {"process": file.stem}, sample.value)
        return found.values()
