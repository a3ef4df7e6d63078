"""Figures as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from benchmarks.heads.classifiers import DEFAULT
from benchmarks.heads.measuring import SHOTS, Figures
from benchmarks.scores import compare_paired

BEFORE = "default before"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(shares: Iterable[float]) -> str:
    return f"{100 * float(np.mean(list(shares))):.1f}"


def with_before(accuracy: Figures, before: Figures | None) -> Figures:
    """The same with the default of a former run beside it, where both saw the same episodes."""
    if before is None:
        return accuracy
    joined: Figures = {}
    for name, by_shots in accuracy.items():
        for shots, methods in by_shots.items():
            old = before["accuracy"].get(name, {}).get(shots, {}).get(DEFAULT, [])
            same = len(old) == len(methods[DEFAULT])
            joined.setdefault(name, {})[shots] = methods | ({BEFORE: old} if same else {})
    return joined


def accuracy_table(accuracy: Figures) -> str:
    """Mean accuracy in % by set and method over the shots."""
    rows = []
    for name, by_shots in accuracy.items():
        methods = dict.fromkeys(method for found in by_shots.values() for method in found)
        for method in methods:
            cells = [by_shots.get(str(shots), {}).get(method) for shots in SHOTS]
            rows.append([name, method, *[percent(cell) if cell else "" for cell in cells]])
    return table(["images", "method", *[f"{shots} shots" for shots in SHOTS]], rows)


def paired_table(accuracy: Figures) -> str:
    """How many points the default is ahead: mean over sets, standard error over episodes, sets won."""
    rows = []
    methods = dict.fromkeys(m for by in accuracy.values() for found in by.values() for m in found)
    for method in methods:
        if method == DEFAULT:
            continue
        cells = []
        for shots in SHOTS:
            found = [by[str(shots)] for by in accuracy.values() if method in by.get(str(shots), {})]
            if not found:
                cells.append("")
                continue
            ahead = compare_paired(
                np.concatenate([accuracies[DEFAULT] for accuracies in found]),
                np.concatenate([accuracies[method] for accuracies in found]),
            )
            by_set = [np.mean(accuracies[DEFAULT]) - np.mean(accuracies[method]) for accuracies in found]
            won = sum(difference > 0 for difference in by_set)
            points = f"{100 * ahead.difference:+.1f} ± {100 * ahead.error:.1f}"
            cells.append(f"{points} ({ahead.wins}-{ahead.losses}; {won}/{len(found)})")
        rows.append([f"default - {method}", *cells])
    return table(["difference in points", *[f"{shots} shots" for shots in SHOTS]], rows)


def rejection_table(judged: Figures, before: Figures | None) -> str:
    """Rejection at the default threshold and at the best one, and calibration; former figures in brackets."""
    columns = ("right accepted", "unknown refused", "balance", "best balance")
    errors = ("ECE", "ECE by chance", "ECE without none", "ECE mixed")
    rows = []
    for name, by_shots in judged.items():
        for shots, found in by_shots.items():
            old = {} if before is None else before["default"].get(name, {}).get(shots, {})

            def cell(column: str, now: Figures = found, then: Figures = old) -> str:
                return f"{now[column]:.3f}" + (f" ({then[column]:.3f})" if column in then else "")

            rows.append([name, shots, *[cell(column) for column in (*columns, *errors)]])
    return table(["images", "shots", *columns, *[f"{error}" for error in errors]], rows)


def summary_table(judged: Figures) -> str:
    """Means over the sets by shots."""
    columns = ("accuracy", "balance", "best balance", "ECE", "ECE by chance", "ECE without none", "ECE mixed")
    rows = []
    for shots in map(str, SHOTS):
        found = [by[shots] for by in judged.values() if shots in by]
        if found:
            gaps = [row["best balance"] - row["balance"] for row in found]
            means = [f"{np.mean([row[column] for row in found]):.3f}" for column in columns]
            rows.append([shots, len(found), *means, f"{max(gaps):.3f}"])
    return table(["shots", "sets", *columns, "largest gap to the best threshold"], rows)


def beginnings_table(figures: Figures) -> str:
    """Accuracy, calibration and rejection in %, mean over image sets, and the set that is calibrated worst."""
    rows = []
    for case, by_set in figures.items():
        found = list(by_set.values())
        means = [percent(row[column] for row in found) for column in ("accuracy", "ECE", "ECE by chance")]
        worst = max(by_set, key=lambda name: by_set[name]["ECE"])
        balances = [percent(row[column] for row in found) for column in ("balance", "best balance")]
        rows.append([case, *means, f"{percent([by_set[worst]['ECE']])} ({worst})", *balances])
    columns = ("accuracy %", "ECE %", "by chance", "highest ECE %", "balance %", "by the best threshold")
    return table(["examples", *columns], rows)


def coverage_table(figures: Figures) -> str:
    """How often sets hold the truth, mean over image sets and the set that is farthest from what was asked."""
    rows = []
    for wanted, by_set in figures.items():
        for shots in map(str, SHOTS):
            found = {name: by[shots] for name, by in by_set.items() if shots in by}
            if not found:
                continue
            promised = [row["guarantee"] for row in found.values()]
            kinds = ", ".join(f"{promised.count(kind)} {kind}" for kind in dict.fromkeys(promised))
            means = [
                percent(row[column] for row in found.values()) for column in ("held", "strictly", "by label")
            ]
            far = min(found, key=lambda name: found[name]["strictly"])
            size = f"{np.mean([row['size'] for row in found.values()]):.2f}"
            rows.append([wanted, shots, kinds, *means, f"{percent([found[far]['strictly']])} ({far})", size])
    columns = ("holds %", "with empty sets %", "by label, with empty sets %", "lowest set %", "labels a set")
    return table(["coverage", "shots", "promise", *columns], rows)


def imbalance_table(figures: Figures) -> str:
    """Recall of the scarce labels / balanced accuracy in %, mean over sets."""
    rows = []
    for kind, by_set in figures.items():
        for method in next(iter(by_set.values())):
            means = np.mean([np.mean(found[method], axis=0) for found in by_set.values()], axis=0)
            rows.append([kind, len(by_set), method, f"{100 * means[0]:.1f}", f"{100 * means[1]:.1f}"])
    return table(["examples", "sets", "method", "recall of scarce labels %", "balanced accuracy %"], rows)


def noise_table(figures: Figures) -> str:
    """Accuracy in %, mean over sets, by the share of wrong labels."""
    by_set = next(iter(figures.values()))
    rows = []
    for method in next(iter(by_set.values())):
        means = [percent(np.mean(found[method]) for found in figures[share].values()) for share in figures]
        rows.append([method, *means])
    return table(["method", *[f"{share} wrong" for share in figures]], rows)


def size_table(figures: Figures) -> str:
    """Accuracy in % (and the default's calibration error) by set, method and number of examples."""
    sizes = list(dict.fromkeys(count for by in figures.values() for count in by))
    rows = []
    for name, by_size in figures.items():
        for method in dict.fromkeys(m for found in by_size.values() for m in found):
            cells = [by_size.get(count, {}).get(method) for count in sizes]
            rows.append([name, method, *[percent(cell) if cell else "" for cell in cells]])
    return table(["images", "method", *sizes], rows)


def times_table(figures: Figures) -> str:
    rows = [
        [name, found["kind"], f"{found['fit s']:.3f}", f"{1e3 * found['answer s']:.2f}"]
        for name, found in figures.items()
    ]
    return table(["fitted", "kind", "fit s", "one image ms"], rows)
