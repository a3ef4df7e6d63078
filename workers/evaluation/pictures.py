"""Pictures of an evaluation, as PNG: confusion matrix, reliability curve, loss curves, the worst mistakes."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

_MAX_TICKS = 60
_MAX_NUMBERS = 20
_TILE = 160
_COLUMNS = 5


@dataclass(frozen=True)
class Mistake:
    """An image that was judged wrongly, and how sure the model was."""

    image: Image.Image
    truth: str
    predicted: str
    confidence: float | None = None


def confusion_matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> bytes:
    """Rows are truths, columns predictions; colours are shares of a row, numbers are counts."""
    size = min(4 + 0.35 * len(labels), 24)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.add_subplot()
    shares = [[count / max(sum(row), 1) for count in row] for row in matrix]
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(drawn, shrink=0.7, label="share of the true label")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(labels) <= _MAX_TICKS:
        axes.set_xticks(range(len(labels)), [_short(label) for label in labels], rotation=90)
        axes.set_yticks(range(len(labels)), [_short(label) for label in labels])
    if len(labels) <= _MAX_NUMBERS:
        for row, counts in enumerate(matrix):
            for column, count in enumerate(counts):
                if count:
                    colour = "white" if shares[row][column] > 0.5 else "black"
                    axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    return _png(figure)


def reliability_curve(bins: Sequence[Mapping[str, float]], error: float) -> bytes:
    """Accuracy over confidence, the size of each point by its count; on the diagonal scores are true chances."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey", label="perfectly calibrated")
    total = sum(bucket["count"] for bucket in bins) or 1
    axes.plot(
        [bucket["confidence"] for bucket in bins], [bucket["accuracy"] for bucket in bins], color="tab:blue"
    )
    axes.scatter(
        [bucket["confidence"] for bucket in bins],
        [bucket["accuracy"] for bucket in bins],
        s=[20 + 300 * bucket["count"] / total for bucket in bins],
        color="tab:blue",
        label=f"this model (calibration error {error:.3f})",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
    axes.legend(loc="upper left")
    return _png(figure)


def curves(series: Mapping[str, Sequence[tuple[int, float]]]) -> bytes:
    """One line a metric over the training steps; losses on the left, shares between 0 and 1 on the right."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    right = None
    for index, (name, points) in enumerate(sorted(series.items())):
        where = axes
        if "loss" not in name:
            right = right or axes.twinx()
            where = right
        where.plot([step for step, _ in points], [value for _, value in points], f"C{index}", label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    handles = [handle for axis in (axes, right) if axis for handle in axis.get_legend_handles_labels()[0]]
    if handles:
        axes.legend(handles=handles, loc="center right")
    return _png(figure)


def contact_sheet(mistakes: Sequence[Mistake]) -> bytes:
    """The images in a grid, each with its truth, what the model said and how sure it was."""
    columns = min(_COLUMNS, max(len(mistakes), 1))
    rows = max(math.ceil(len(mistakes) / columns), 1)
    line = 14
    sheet = Image.new("RGB", (columns * (_TILE + 8), rows * (_TILE + 3 * line + 8)), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    if not mistakes:
        pen.text((8, 8), "no mistakes", "black", font)
    for index, mistake in enumerate(mistakes):
        left = index % columns * (_TILE + 8) + 4
        top = index // columns * (_TILE + 3 * line + 8) + 4
        tile = mistake.image.copy()
        tile.thumbnail((_TILE, _TILE))
        sheet.paste(tile, (left, top))
        said = _short(mistake.predicted, 26)
        sure = "" if mistake.confidence is None else f"{mistake.confidence:.0%} sure"
        for number, (words, colour) in enumerate(
            [(_short(mistake.truth, 26), "green"), (said, "firebrick"), (sure, "black")]
        ):
            pen.text((left, top + _TILE + number * line), words, colour, font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _short(text: str, most: int = 24) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()
