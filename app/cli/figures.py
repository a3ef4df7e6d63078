"""A model's figures as a person reads them: the plain ones first, then each label's.

Knows their names; what they mean is the service's business.
"""

from __future__ import annotations

from typing import Any

from app.cli import output

_PLAIN = (
    "examples",
    "accuracy",
    "f1",
    "top5_accuracy",
    "exact_match",
    "bleu",
    "chance",
    "commonest",
    "calibration_error",
    "rejected",
)


def not_judged(figures: dict[str, Any]) -> bool:
    """Whether there was nothing to judge a model by."""
    return str(figures.get("evaluated_on", "")).startswith("not judged")


def show(figures: dict[str, Any]) -> None:
    """Print an evaluation; one that was kept before `f1` had its name shows it all the same."""
    if not_judged(figures):
        output.say(str(figures["evaluated_on"]))
    if "macro_f1" in figures:
        figures = {"f1": figures["macro_f1"], **figures}
    output.print_table(["", ""], [[key, number(figures[key])] for key in _PLAIN if key in figures], empty="")
    output.print_table(
        ["label", "precision", "recall", "f1", "examples"],
        (
            [label, *(number(one[key]) for key in ("precision", "recall", "f1")), str(one["support"])]
            for label, one in figures.get("per_class", {}).items()
        ),
        empty="",
    )


def number(value: Any) -> str:
    """Four digits of what is no whole number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
