"""One table, one list of failures, and the same as JSON; written anew after every section."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.gpu.plan import Figure, Findings

TABLE = "gpu.md"
FIGURES = "gpu.json"


@dataclass
class Report:
    """All that a run has found so far."""

    machine: dict[str, str]
    """What was measured on, in the order in which it is printed."""
    judged: bool
    """Whether bounds count: they were set for one large GPU and whole models."""
    sections: dict[str, Findings] = field(default_factory=dict)
    took_s: dict[str, float] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, float]:
        """Every number by its name."""
        return {figure.name: figure.value for found in self.sections.values() for figure in found.figures}

    def failures(self) -> list[str]:
        """What went wrong, and bounds that do not hold."""
        failures = []
        for section, found in self.sections.items():
            failures += [f"{section}: {text}" for text in found.failures]
            failures += [
                f"{section}: {figure.name} is {_number(figure)}, to hold {figure.to_hold}"
                for figure in found.figures
                if self.judged and figure.holds is False
            ]
        return failures

    def markdown(self) -> str:
        """The table, what was left out, and the failures."""
        lines = [f"- {name}: {value}" for name, value in self.machine.items()]
        lines += ["", "| section | what | measured | to hold | |", "| --- | --- | --- | --- | --- |"]
        for section, found in self.sections.items():
            for figure in found.figures:
                note = f" ({figure.note})" if figure.note else ""
                lines.append(
                    f"| {section} | {figure.name}{note} | {_number(figure)} | {figure.to_hold} | "
                    f"{self._verdict(figure)} |"
                )
        took = ", ".join(f"{name} {seconds:.0f}" for name, seconds in self.took_s.items())
        lines += ["", f"Seconds a section took: {took}; {sum(self.took_s.values()):.0f} in all."]
        if not self.judged:
            lines += ["", "Bounds are not judged: they were set for whole models on one large GPU."]
        left_out = [f"- {name}: {text}" for name, found in self.sections.items() for text in found.skipped]
        if left_out:
            lines += ["", "Not measured:", "", *left_out]
        failures = self.failures()
        lines += ["", "Failures:", "", *([f"- {text}" for text in failures] or ["none"]), ""]
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        """Both files."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TABLE).write_text(self.markdown(), encoding="utf-8")
        content = {
            "machine": self.machine,
            "judged": self.judged,
            "sections": {name: asdict(found) for name, found in self.sections.items()},
            "took_s": self.took_s,
            "failures": self.failures(),
        }
        (folder / FIGURES).write_text(json.dumps(content, indent=1), encoding="utf-8")

    def _verdict(self, figure: Figure) -> str:
        if not self.judged or figure.holds is None:
            return ""
        return "holds" if figure.holds else "FAILS"


def _number(figure: Figure) -> str:
    value = figure.value
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {figure.unit}".strip()
