"""Replies about jobs, their files and what they learned from."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from llamafarm_vision.replies.base import ReplyModel

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class Progress(ReplyModel):
    """How far the job's phase is."""

    step: int
    of: int
    """0 where it is not known."""
    eta_s: float | None
    """Estimated seconds until the job is done."""


class Artifact(ReplyModel):
    """A file that a job left behind, or of a model."""

    name: str
    size: int
    """In bytes."""
    sha256: str
    url: str


class Job(ReplyModel):
    """A long-running job: a training, an evaluation, an export, the preparation of a dataset."""

    id: str
    kind: str
    """`train`, `evaluate`, `export`, `prepare`, `reembed` or `teach`."""
    state: JobState
    queue: str
    served: bool | None
    """Whether a worker is there for its queue; None where that is not known."""
    phase: str | None
    not_before: datetime | None
    attempt: int
    max_attempts: int
    strategy: str | None
    task: str | None
    method: str | None
    base_model: str | None
    collection: str | None
    dataset: str | None
    dataset_name: str | None
    params: dict[str, Any]
    name: str | None
    seed: int
    progress: Progress
    metrics: dict[str, Any]
    model: str | None
    """The model that it publishes."""
    error: dict[str, Any] | None
    cancelling: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    result: dict[str, Any] | None = None
    """What it found, such as its evaluation; only of a job that is asked for by itself."""
    artifacts: list[Artifact] = []
    """The files it left behind; only of a job that is asked for by itself."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("succeeded", "failed", "cancelled")


class JobEvent(ReplyModel):
    """Something that happened to a job."""

    id: str
    """For `after`, where a program goes on later."""
    name: str
    """`state`, `progress`, `metric`, `log` or `artifact`."""
    data: dict[str, Any]


class MetricSeries(ReplyModel):
    """One figure of a job by step."""

    name: str
    steps: list[int]
    values: list[float]
    total: int
    """How many values there are, of which these are some."""


class Dataset(ReplyModel):
    """A dataset and what preparing it found."""

    id: str
    name: str
    state: Literal["preparing", "ready", "failed"]
    task: str | None
    """What its examples teach; None until it is ready."""
    format: str
    summary: dict[str, Any] | None
    """Examples by split and label, sizes, duplicates, what was guessed (`remarks`), what was refused by reason."""
    error: dict[str, Any] | None
    job: str | None
    """The job that prepares it."""
    created_at: datetime


class DatasetImage(ReplyModel):
    """One example of a dataset."""

    image_sha256: str
    split: str
    label: str | None
    """None where the dataset's examples are questions or captions."""
    question: str | None
    answer: str | None
    """To the question; a caption where there is none."""
    image: str
    """Where its thumbnail is."""


class FieldNote(ReplyModel):
    """A field of a configuration that has no effect, and why."""

    field: str
    sentence: str


class CheckedConfiguration(ReplyModel):
    """A configuration with its defaults; its sections are attributes, as the service wrote them."""

    warnings: list[FieldNote]
