"""What every method that trains a classifier asks of the examples, and how its model is described."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from app.families import DEFAULT_ENCODER
from app.jobs.errors import NotTrainableError
from app.jobs.spec import JobSpec, ModelCard
from app.models.classifiers import Adapted, ClassifierNote
from workers.shared.examples import Examples


def check_labels(examples: Examples) -> None:
    """Raise NotTrainableError for examples without labels, or with a single one."""
    if examples.task != "classification":
        raise NotTrainableError("An encoder learns labels: these examples have none.")
    if len(examples.labels) < 2:
        raise NotTrainableError("Training needs at least two labels.")


class Base(Protocol):
    """What an encoder, its tower or its parts say of the model that something is trained over."""

    dim: int
    temperature: float
    fingerprint: str


def note_classifier(
    spec: JobSpec,
    family: str,
    base: Base,
    labels: list[str],
    adapted: Adapted | None,
    counts: list[int] | None = None,
) -> ClassifierNote:
    """What `vision.json` says of a classifier; `adapted` is how it changes its encoder, if it does, `counts` are its
    `label_counts`.
    """
    return ClassifierNote(
        method=spec.method or "",
        family=family,
        base_model=spec.base_model or DEFAULT_ENCODER,
        base_fingerprint=base.fingerprint,
        labels=labels,
        adapted=adapted,
        dim=base.dim,
        temperature=float(base.temperature),
        label_counts=counts,
    )


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
