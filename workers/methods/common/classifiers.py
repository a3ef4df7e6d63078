"""What every method that trains a classifier asks of the examples, and how its model is described."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.jobs.errors import NotTrainableError
from app.jobs.spec import ModelCard
from app.models.classifiers import ClassifierNote
from workers.shared.examples import Examples


def check_labels(examples: Examples) -> None:
    """Raise NotTrainableError for examples without labels, or with a single one."""
    if examples.task != "classification":
        raise NotTrainableError("An encoder learns labels: these examples have none.")
    if len(examples.labels) < 2:
        raise NotTrainableError("Training needs at least two labels.")


def describe_classifier(
    note: ClassifierNote, files: Sequence[str], data: dict[str, Any], parameters: int
) -> ModelCard:
    """The card of a classifier whose `vision.json` says `note`; `parameters` counts the trained numbers."""
    return ModelCard(
        **note.model_dump(
            include={"id", "kind", "family", "task", "method", "base_model", "base_fingerprint"}
        ),
        labels=note.labels,
        files=list(files),
        data=data,
        parameters=parameters,
    )
