"""The specification and the results of a job, as its row stores them and as they are sent to workers."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.http.names import MODEL_NAME as MODEL_NAME
from app.methods import MethodName
from app.methods.tasks import BaseKind, Task

Kind = Literal["train", "evaluate", "export", "prepare", "reembed", "teach"]
Queue = Literal["cpu", "gpu", "multi-gpu"]


class DataRef(BaseModel):
    """Where examples come from; exactly one of the two."""

    model_config = ConfigDict(extra="forbid")

    collection: uuid.UUID | None = None
    dataset: uuid.UUID | None = None


class JobSpec(BaseModel):
    """A resolved job. `params` has passed its method's schema (`app.methods.METHODS`), defaults filled in."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    task: Task | None = None
    method: MethodName | None = None
    base_model: str | None = None
    """A word the model registry takes (`lite`, `clip-tiny`, a hub id), or the id of a trained model."""
    base_kind: BaseKind | None = None
    data: DataRef | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    model: str | None = None
    """Slug under which the result is published (train), or the model that is evaluated or exported."""
    seed: int = 0


class Checkpoint(BaseModel):
    """A whole checkpoint in the file store: files below `prefix`, written by the attempt `fence`."""

    prefix: str
    """`jobs/<job>/<fence>/checkpoints/<step>`."""
    fence: int
    step: int
    files: dict[str, str]
    """Relative name -> SHA-256."""


class FileRef(BaseModel):
    """A file in the file store."""

    name: str
    key: str
    sha256: str
    size: int


class Contender(BaseModel):
    """How often one of the two that are compared is right."""

    accuracy: float
    macro_f1: float = Field(description="The mean over the labels that the images have.")
    standard_error: float = Field(description="Of the accuracy, by Laplace's rule.")


class Comparison(BaseModel):
    """The closed-form head and the trained model on the same held-out images; what is null was not compared."""

    sentence: str = Field(
        "", description="Which of the two to use and why, and how; or why they are not compared."
    )
    use: Literal["head", "trained"] | None = Field(
        None,
        description="`trained` where it is right on more of the images and an exact McNemar test gives p < 0.05; else "
        "`head`, which needs no training.",
    )
    encoder: str | None = Field(None, description="What the head looks through.")
    evaluated_on: Literal["test", "validation"] | None = Field(
        None,
        description="`validation`: the trained model was also chosen by these images, which flatters it.",
    )
    images: int = Field(0, description="Held-out images that both were asked about.")
    head: Contender | None = None
    trained: Contender | None = None
    chance: float | None = Field(None, description="Accuracy of guessing blindly.")
    commonest: float | None = Field(None, description="Accuracy of always saying the commonest label.")
    commonest_label: str | None = None
    only_head: int | None = Field(None, description="Images on which the head alone is right.")
    only_trained: int | None = Field(None, description="Images on which the trained model alone is right.")
    p_value: float | None = Field(
        None, description="Of an exact McNemar test of these two counts, two-sided."
    )


class ModelCard(BaseModel):
    """What is known of a trained model; `files` are artefact names that the serving side needs."""

    id: str
    kind: Literal["classifier", "vlm"]
    family: str
    task: Task
    method: str
    base_model: str
    base_fingerprint: str | None = None
    labels: list[str] | None = None
    files: list[str] = Field(default_factory=list)
    """Names of artefacts that make up the model, `vision.json` first."""
    data: dict[str, Any] = Field(default_factory=dict)
    """Collection or dataset, counts of examples by split and label."""
    settings: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    comparison: Comparison | None = None
    """With the closed-form head; None where no labels were learned, or before cards had it."""
    strategy: str | None = None
    seed: int | None = None
    parameters: int | None = None
    """Trained parameters."""
    size_bytes: int | None = None


class DatasetOutcome(BaseModel):
    """What preparing a dataset found."""

    id: uuid.UUID
    task: Task
    format: str
    summary: dict[str, Any]
    manifest: str
    """Key of the manifest in the file store."""


class Outcome(BaseModel):
    """What a successful attempt hands over for publication."""

    card: ModelCard | None = None
    """The model that it publishes."""
    model: str | None = None
    """Where it publishes none: the model that its artifacts belong to."""
    dataset: DatasetOutcome | None = None
    artifacts: list[FileRef] = Field(default_factory=list)
    metrics: dict[str, Any] = Field(default_factory=dict)
    result: dict[str, Any] = Field(default_factory=dict)
    """Whatever else the job's page shows: an evaluation, a report."""
    used_up: list[str] = Field(default_factory=list)
    """Keys of the file store that nobody needs once the job has succeeded; until then another attempt may."""


@dataclass(frozen=True)
class ResolvedJob:
    """A job that may be queued."""

    spec: JobSpec
    queue: Queue
    strategy: str | None = None
    warnings: tuple[str, ...] = ()
    """What the job's log begins with."""
