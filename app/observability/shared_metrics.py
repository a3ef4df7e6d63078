"""The numbers of a service of several processes, whichever of them is asked.

Each process counts in files of its own below one folder, under a name that it keeps when it is started again, so that
no counter falls when one is killed. Figures of the processes themselves carry the name as the label `process`.
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
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(frozen=True)
class SharedMetrics:
    """One process's part of them."""

    folder: Path
    process: str

    def begin(self) -> None:
        """From now on count in this process's files; metrics that were made before are not shared."""
        os.environ[_VARIABLE] = str(self.folder)
        values.ValueClass = values.MultiProcessValue(lambda: self.process)  # type: ignore[no-untyped-call]
        self.note()

    def note(self) -> None:
        """From now on show this process's figures."""
        (self.folder / f"{self.process}.pid").write_text(str(os.getpid()))

    def end(self) -> None:
        """That process has ended: what it counted stays, its figures and what waited in it go."""
        mark_process_dead(self.process, str(self.folder))  # type: ignore[no-untyped-call]
        (self.folder / f"{self.process}.pid").unlink(missing_ok=True)

    def known_models(self) -> Iterator[str]:
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
