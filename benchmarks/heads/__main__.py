"""Measures, prints Markdown tables, and keeps figures for a later comparison; see the package."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from app.heads import Priors, priors_of
from app.inference.protocols import Encoder
from benchmarks import image_sets
from benchmarks.heads import beginnings, coverage, curves, measuring, pictures, tables, timing
from benchmarks.heads.classifiers import PLAIN
from benchmarks.image_sets import ImageSet, catalogue
from benchmarks.image_sets.packages import PackageUnavailableError

PARTS = ("accuracy", "rejection", "beginnings", "coverage", "imbalance", "noise", "size", "times")


def measure(
    parts: list[str], model: Encoder, sets: list[ImageSet], seeds: int, plain: list[str] | None
) -> measuring.Figures:
    """The figures of some parts, by the part's name; `plain` names the classifiers beside the default, None all."""
    priors: Priors = priors_of(model)
    figures: dict[str, Any] = {}
    if {"accuracy", "rejection"} & set(parts):
        figures |= measuring.measure(sets, priors, seeds, plain if "accuracy" in parts else [], tell)
    if "beginnings" in parts:
        figures["beginnings"] = beginnings.beginnings(sets, priors, seeds)
    if "coverage" in parts:
        figures["coverage"] = coverage.coverage(sets, priors, seeds)
    if "imbalance" in parts:
        figures["imbalance"] = curves.imbalance(sets, priors, seeds, plain)
    if "noise" in parts:
        figures["noise"] = curves.noise(sets, priors, seeds, plain)
    if "size" in parts:
        many = [catalogue.load(model, definition) for definition in catalogue.CURVES]
        figures["size"] = curves.size(many, priors, min(seeds, 3), tell)
    if "times" in parts:
        figures["times"] = timing.times(priors, model.dim)
    return figures


def tell(line: str) -> None:
    """How far it is, where tables that are piped elsewhere do not show it."""
    print(line, file=sys.stderr, flush=True)


def report(figures: measuring.Figures, before: measuring.Figures | None) -> str:
    """All tables of some figures."""
    written = []
    if "accuracy" in figures:
        accuracy = tables.with_before(figures["accuracy"], before)
        written += ["### Accuracy in %", tables.accuracy_table(accuracy), tables.paired_table(accuracy)]
        written += ["### Rejection and calibration", tables.summary_table(figures["default"])]
        written += [tables.rejection_table(figures["default"], before)]
    for part, write in (
        ("beginnings", tables.beginnings_table),
        ("coverage", tables.coverage_table),
        ("imbalance", tables.imbalance_table),
        ("noise", tables.noise_table),
        ("size", tables.size_table),
        ("times", tables.times_table),
    ):
        if part in figures:
            written += [f"### {part.capitalize()}", write(figures[part])]
            if before is not None and part in before:
                written += ["Before:", write(before[part])]
    return "\n\n".join(written)


def main() -> int:
    parser = argparse.ArgumentParser(description=sys.modules["benchmarks.heads"].__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--encoder", default="lite")
    parser.add_argument("--seeds", type=int, default=10, help="episodes of each set and number of shots")
    parser.add_argument("--sets", nargs="+", help="names of judging sets; all by default")
    parser.add_argument(
        "--plain", nargs="*", choices=list(PLAIN), help="classifiers beside the default; all if left out"
    )
    parser.add_argument(
        "--save", type=Path, help="write the figures as JSON; other parts that it holds are kept"
    )
    parser.add_argument("--before", type=Path, help="figures of a former run to compare with")
    parser.add_argument("--pictures", type=Path, help="folder for accuracy.svg and reliability.svg")
    arguments = parser.parse_args()
    model = image_sets.encoder(arguments.encoder)
    before = json.loads(arguments.before.read_text("utf-8")) if arguments.before else None
    try:
        only_times = set(arguments.parts) <= {"times", "size"}
        sets = [] if only_times else catalogue.judging_sets(model, arguments.sets)
        figures = measure(arguments.parts, model, sets, arguments.seeds, arguments.plain)
    except PackageUnavailableError as error:
        print(f"A package that holds images is not to be had: {error}", file=sys.stderr)
        return 1
    if arguments.save:
        kept = json.loads(arguments.save.read_text("utf-8")) if arguments.save.is_file() else {}
        arguments.save.write_text(
            json.dumps(round_figures(kept | figures), separators=(",", ":")) + "\n", "utf-8"
        )
    print(report(figures, before))
    if arguments.pictures and "accuracy" in figures:
        pictures.draw_accuracy(
            tables.with_before(figures["accuracy"], before), arguments.pictures / "accuracy.svg"
        )
        pictures.draw_reliability(figures["default"], arguments.pictures / "reliability.svg")
    return 0


def round_figures(content: Any) -> Any:
    """The same with four decimals, which is finer than any of the figures is known."""
    if isinstance(content, dict):
        return {name: round_figures(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [round_figures(value) for value in content]
    return round(content, 4) if isinstance(content, float) else content


if __name__ == "__main__":
    sys.exit(main())
