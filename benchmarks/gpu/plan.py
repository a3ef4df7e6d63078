"""What a run measures and what a section hands back; both pass between processes as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    name: str
    """Unique in a run; later sections read it by this."""
    value: float
    unit: str = ""
    least: float | None = None
    """What docs/benchmarks.md asks for at least, on the machine it names."""
    most: float | None = None
    """The same, at most."""
    note: str = ""

    @property
    def to_hold(self) -> str:
        """The bound in words, empty where there is none."""
        if self.least is not None:
            return f">= {self.least:,.4g}"
        return "" if self.most is None else f"<= {self.most:,.4g}"

    @property
    def holds(self) -> bool | None:
        """Whether the bound holds; None where there is none."""
        if self.least is not None:
            return self.value >= self.least
        return None if self.most is None else self.value <= self.most


@dataclass(frozen=True)
class Plan:
    """How a run measures."""

    device: str
    """`cpu`, `cuda`, `cuda:N` or `mps`."""
    tiny: bool
    """Small models and short measurements, to rehearse; no bound is judged."""
    scratch: Path
    """Folder for checkpoints and data folders; removed by the caller."""
    seconds: float = 5.0
    """Length of one measurement."""
    limit_s: float = 120.0
    """Seconds after which the section is ended."""
    tests: tuple[str, ...] = ()
    """What the section `suite` runs instead of its own selection."""
    earlier: dict[str, float] = field(default_factory=dict)
    """Figures of the sections before, by name."""

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), default=str), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Plan:
        """What `write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        values |= {"scratch": Path(values["scratch"]), "tests": tuple(values["tests"])}
        return cls(**values)


class Recorder:
    """Takes a section's figures and failures and writes each at once, so that a killed section loses none."""

    def __init__(self, path: Path) -> None:
        self._sink = path.open("a", encoding="utf-8")

    def figure(
        self,
        name: str,
        value: float,
        unit: str = "",
        *,
        least: float | None = None,
        most: float | None = None,
        note: str = "",
    ) -> None:
        """One number."""
        self._write("figure", asdict(Figure(name, value, unit, least, most, note)))

    def failure(self, text: str) -> None:
        """Something that went wrong, in a sentence."""
        self._write("failure", text)

    def skip(self, text: str) -> None:
        """Something that this machine cannot measure, and why."""
        self._write("skipped", text)

    def _write(self, kind: str, content: object) -> None:
        self._sink.write(json.dumps({kind: content}) + "\n")
        self._sink.flush()


@dataclass
class Findings:
    """What a section recorded."""

    figures: list[Figure] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Findings:
        """All that a `Recorder` wrote to the file; a line that was cut off counts for nothing."""
        found = cls()
        lines: Iterable[str] = path.read_text(encoding="utf-8").splitlines() if path.exists() else ()
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if "figure" in row:
                found.figures.append(Figure(**row["figure"]))
            found.failures += [row["failure"]] if "failure" in row else []
            found.skipped += [row["skipped"]] if "skipped" in row else []
        return found
