"""What a trained model's README says: what it is, what it learned from, how good it is, and whether to use it."""

from __future__ import annotations

import json
from typing import Any

from app.jobs.spec import Comparison, ModelCard
from workers.shared.metrics import NOT_JUDGED


def model_page(card: ModelCard, title: str | None = None) -> list[str]:
    """Lines of Markdown."""
    lines = [
        f"# {title or card.id}",
        "",
        f"A {card.task} model: `{card.base_model}` trained by `{card.method}`"
        + (f" (strategy `{card.strategy}`)." if card.strategy else "."),
        "",
    ]
    if card.comparison is not None:
        lines += ["## Which to use", "", card.comparison.sentence, "", *_table(card.comparison)]
    lines += [
        "## Data",
        "",
        *(f"- {key}: {_short(value)}" for key, value in card.data.items()),
        "",
        "## Metrics",
        "",
        _describe_judgement(card.metrics),
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
    return lines


def _table(found: Comparison) -> list[str]:
    if found.head is None or found.trained is None:
        return []
    rows = [
        (f"closed-form head on `{found.encoder}`", found.head),
        ("this model", found.trained),
    ]
    return [
        f"| on {found.images} held-out images ({found.evaluated_on}) | accuracy | f1 |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {figures.accuracy:.3f} ± {figures.standard_error:.3f} | {figures.macro_f1:.3f} |"
            for name, figures in rows
        ),
        f"| always saying the commonest label ('{found.commonest_label}') | {found.commonest:.3f} | |",
        f"| guessing | {found.chance:.3f} | |",
        "",
    ]


def _describe_judgement(figures: dict[str, Any]) -> str:
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
