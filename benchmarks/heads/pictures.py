"""Two pictures for the documentation: accuracy over shots, and how far scores can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.heads.classifiers import DEFAULT
from benchmarks.heads.measuring import SHOTS, Figures
from benchmarks.heads.tables import BEFORE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = {DEFAULT: ("#0b5fa5", "-"), BEFORE: ("#7fb2dc", "-")}
OTHER_COLORS = ("#b8482f", "#8a8a2b", "#5d7f47", "#7d5a94")
SKIPPED = "balanced logistic regression"
"""It is the same as the other one where labels are balanced."""
RELIABLE_SHOTS = ("1", "5", "20")


def draw_accuracy(accuracy: Figures, path: Path) -> None:
    """Mean over the sets that have images enough at every number of shots, so that a line shows the same sets."""
    full = [by for by in accuracy.values() if all(str(shots) in by for shots in SHOTS)]
    methods = [name for name in full[0][str(SHOTS[0])] if name != SKIPPED]
    figure, axes = _make_axes(6.2, 3.6)
    colors = iter(OTHER_COLORS)
    for name in methods:
        color, line = STYLES[name] if name in STYLES else (next(colors), "--")
        means = [100 * np.mean([np.mean(by[str(shots)][name]) for by in full]) for shots in SHOTS]
        axes.plot(
            SHOTS, means, line, color=color, label=name, linewidth=2 if name == DEFAULT else 1.2, marker="."
        )
    axes.set_xscale("log", base=10)
    axes.set_xticks(SHOTS, [str(shots) for shots in SHOTS])
    axes.minorticks_off()
    axes.set_xlabel("examples a label")
    axes.set_ylabel(f"accuracy %, mean of {len(full)} sets")
    _save(figure, axes, path)


def draw_reliability(judged: Figures, path: Path) -> None:
    """Share of right answers over the score, mean over sets of bins of equal mass; half of the images are unknown."""
    figure, axes = _make_axes(4.6, 3.6)
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    for shots, color in zip(RELIABLE_SHOTS, ("#7fb2dc", "#0b5fa5", "#08305a"), strict=True):
        found = [by[shots]["reliability mixed"] for by in judged.values() if shots in by]
        confidence, accuracy = (np.mean([curve[column] for curve in found], axis=0) for column in (0, 1))
        axes.plot(
            confidence,
            accuracy,
            color=color,
            marker=".",
            linewidth=1.5,
            label=f"{shots} {'shot' if shots == '1' else 'shots'}",
        )
    axes.set_xlabel("best score")
    axes.set_ylabel("share that is right")
    _save(figure, axes, path)


def _make_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """One chart of so many inches."""
    from matplotlib.figure import Figure  # takes a second, which whoever draws nothing saves

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def _save(figure: Figure, axes: Axes, path: Path) -> None:
    import matplotlib as mpl

    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    # Text as text, and no date, so that the same figures give the same small file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "heads", "font.family": "sans-serif"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
