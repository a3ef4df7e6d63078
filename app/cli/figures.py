"""A model's figures as a person reads them: the plain ones first, then each label's."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from app.cli import output
from app.cli.wording import in_flags

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


def is_unjudged(figures: dict[str, Any]) -> bool:
    """Whether there was nothing to judge a model by."""
    return str(figures.get("evaluated_on", "")).startswith("not judged")


def show(figures: dict[str, Any]) -> None:
    """Print an evaluation; one that was kept before `f1` had its name shows it all the same."""
    if is_unjudged(figures):
        output.say(str(figures["evaluated_on"]))
    if "macro_f1" in figures:
        figures = {"f1": figures["macro_f1"], **figures}
    output.print_table(["", ""], [[key, number(figures[key])] for key in _PLAIN if key in figures], empty="")
    output.print_table(
        ["label", "precision", "recall", "f1", "examples"],
        (
            [label, *(number(values[key]) for key in ("precision", "recall", "f1")), str(values["support"])]
            for label, values in figures.get("per_class", {}).items()
        ),
        empty="",
    )


def show_comparison(found: dict[str, Any] | None) -> None:
    """Print the closed-form head, the trained model and what guessing reaches, on the same images, and which to use."""
    if not found:
        return
    head, trained = found.get("head"), found.get("trained")
    if head and trained:
        output.print_table(
            [f"on {found['images']} held-out images", "accuracy", "f1"],
            [
                [f"closed-form head on {found['encoder']}", *_beside(head)],
                ["trained model", *_beside(trained)],
                [f"always '{found['commonest_label']}'", number(found["commonest"]), ""],
                ["guessing", number(found["chance"]), ""],
            ],
            empty="",
        )
    output.out.print(Text(in_flags(str(found.get("sentence") or ""))), soft_wrap=True)


def _beside(contender: dict[str, Any]) -> tuple[str, str]:
    error = contender["standard_error"]
    return f"{number(contender['accuracy'])} ± {error:.2g}", number(contender["macro_f1"])


def number(value: Any) -> str:
    """Four digits of what is no whole number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
