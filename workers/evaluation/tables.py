"""What an evaluation's pictures show, as data: the confusion matrix with images behind its cells, and the mistakes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workers.shared.examples import Item

CONFUSION = "confusion.json"
MISTAKES = "mistakes.json"
MAX_CELL_IMAGES = 20
"""Images that a cell of the matrix names."""
MAX_IMAGES = 20_000
"""Images that all cells name together, those of mistakes first."""
MAX_MISTAKES = 1_000


def write_confusion(
    folder: Path, confusion: Mapping[str, Any], items: Sequence[Item], said: Sequence[str]
) -> None:
    """`{labels, counts, cells}`: `counts[i][j]` examples of the label i are predicted as j; a cell that is not empty
    has `{truth, said, count, images}`, the SHA-256 of its first images.
    """
    images: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for item, cell_label in zip(items, said, strict=True):
        images[item.label or "", cell_label].append(item.sha256)
    left = MAX_IMAGES
    cells = []
    for (truth, cell_label), shown in sorted(
        images.items(), key=lambda cell: (cell[0][0] == cell[0][1], cell[0])
    ):
        named = shown[: min(MAX_CELL_IMAGES, left)]
        left -= len(named)
        cells.append({"truth": truth, "said": cell_label, "count": len(shown), "images": named})
    table = {"labels": confusion["labels"], "counts": confusion["matrix"], "cells": cells}
    (folder / CONFUSION).write_text(json.dumps(table) + "\n")


def build_mistake(item: Item, truth: str, said: str, score: float | None = None) -> dict[str, Any]:
    """A row of the mistakes; `score` is the probability of what was said, None of an answer in words."""
    row = {
        "image_sha256": item.sha256,
        "truth": truth,
        "said": said,
        "score": None if score is None else round(score, 6),
        "split": item.split,
    }
    return row if item.question is None else {**row, "question": item.question}


def write_mistakes(folder: Path, mistakes: Sequence[Mapping[str, Any]]) -> None:
    """The first `MAX_MISTAKES` of them, the surest first."""
    (folder / MISTAKES).write_text(json.dumps(list(mistakes[:MAX_MISTAKES])) + "\n")
