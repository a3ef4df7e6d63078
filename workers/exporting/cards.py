"""The model card that travels with an export: what it is, what it was trained on, how good it is.

Knows cards and figures; knows nothing of files beside its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workers.evaluation.metrics import NOT_JUDGED
from workers.model_files import ModelFiles


def write(folder: Path, found: ModelFiles, name: str, report: dict[str, Any]) -> None:
    """Write README.md."""
    card = found.card
    lines = [f"# {name}", ""]
    if card is None:
        lines += [f"The encoder `{found.word}` as it is served.", ""]
    else:
        lines += [
            f"A {card.task} model: `{card.base_model}` trained by `{card.method}`"
            + (f" (strategy `{card.strategy}`)." if card.strategy else "."),
            "",
            "## Data",
            "",
            *(f"- {key}: {_short(value)}" for key, value in card.data.items()),
            "",
            "## Metrics",
            "",
            _judged_on(card.metrics),
            "",
            *(f"- {key}: {_short(value)}" for key, value in card.metrics.items()),
            "",
            "## Settings",
            "",
            *(f"- {key}: {_short(value)}" for key, value in card.settings.items()),
            f"- seed: {card.seed}",
            "",
        ]
        if card.labels:
            lines += ["## Labels", "", ", ".join(card.labels), ""]
    files = report.get("files")
    if isinstance(files, dict):
        lines += ["## Parity with the served model", ""]
        for file, found_ in files.items():
            lines.append(
                f"- {file}: cosine {found_['least_cosine']:.6f} at least, same best label {found_['top1']:.1%}, "
                f"largest difference {found_['max_difference']:.2g}, on {found_['examples']} inputs"
            )
        lines.append("")
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _judged_on(figures: dict[str, Any]) -> str:
    """What the figures stand for, as far as the method that trained it tells."""
    where = str(figures.get("evaluated_on", ""))
    if where == NOT_JUDGED:
        return "Not judged: no examples were held out, so nothing is known of images that it has not seen."
    chosen = ", by which the best checkpoint was chosen too" if where == "validation" else ""
    return f"On examples that it was not trained on{chosen}; the level of chance stands beside them."


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
