"""A job and its files as clients see them, in whichever room's answer."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from app.http.bodies import with_example
from app.jobs.spec import Kind, Queue
from app.jobs.tables import Artifact
from app.methods import MethodName
from app.methods.tasks import Task

RETRY_AFTER_SECONDS = 2
"""How soon a client that polls should look at a new job."""
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]

_ID = "5b0c7f0e-3c8a-4c57-9f2e-0d6f6a1c9d10"
EXAMPLE_JOB: dict[str, Any] = {
    "id": _ID,
    "kind": "train",
    "state": "running",
    "queue": "cpu",
    "served": None,
    "phase": "fitting",
    "not_before": None,
    "attempt": 1,
    "max_attempts": 5,
    "strategy": "lite_fewshot",
    "task": "classification",
    "method": "lora",
    "base_model": "lite",
    "collection": "mugs",
    "dataset": None,
    "dataset_name": None,
    "params": {"steps": 200},
    "name": "mugs-lite-fewshot",
    "seed": 0,
    "progress": {"step": 40, "of": 200, "eta_s": 31.5},
    "metrics": {"loss": 0.42},
    "model": None,
    "error": None,
    "cancelling": False,
    "created_at": "2026-01-31T12:00:00Z",
    "started_at": "2026-01-31T12:00:01Z",
    "finished_at": None,
}
EXAMPLE_ARTIFACT: dict[str, Any] = {
    "name": "head.safetensors",
    "size": 40960,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "url": f"/v1/jobs/{_ID}/artifacts/head.safetensors",
}


class Progress(BaseModel):
    """How far a job is."""

    step: int
    of: int = Field(description="Steps in all; 0 while that is not known.")
    eta_s: float | None = Field(description="Seconds that are likely left.")


class JobInfo(BaseModel):
    """A job and how it is doing."""

    model_config = with_example(EXAMPLE_JOB)

    id: uuid.UUID
    kind: Kind
    state: State
    queue: Queue = Field(
        description="The queue it waits in, by its size; workers listen to one queue or several."
    )
    served: bool | None = Field(
        description="Of a job that waits: whether a worker listens to its queue; null where that is not known."
    )
    phase: str | None = Field(description="`preparing`, `fitting`, `evaluating` or `saving` while it runs.")
    not_before: datetime | None = Field(
        description="Until when it is put off because its worker had no room; `error` says what was full."
    )
    attempt: int = Field(description="Grows by one when a lost worker's job goes on elsewhere.")
    max_attempts: int = Field(description="After so many lost workers it counts as failed.")
    strategy: str | None = Field(description="Null where a configuration, or no training, was asked for.")
    task: Task | None
    method: MethodName | None
    base_model: str | None
    collection: str | None = Field(description="What it learns from, or `dataset`.")
    dataset: uuid.UUID | None = Field(description="What it learns from, judges by or prepares.")
    dataset_name: str | None = Field(description="What the dataset is called; null where it is gone.")
    params: dict[str, Any] = Field(description="What was asked for beyond the strategy's own.")
    name: str | None = Field(
        description="What its model is to be called, or which model it judges or writes as files."
    )
    seed: int
    progress: Progress
    metrics: dict[str, Any] = Field(description="The newest value of each.")
    model: str | None = Field(description="The model that it published, once it succeeded.")
    error: dict[str, Any] | None = Field(
        description="The problem document of its failure, or of the last attempt's while it is tried again."
    )
    cancelling: bool = Field(description="Whether it was asked to stop and has not yet.")
    created_at: datetime
    started_at: datetime | None = Field(description="When its first attempt began.")
    finished_at: datetime | None = Field(description="When it succeeded, failed or was cancelled.")


class ArtifactInfo(BaseModel):
    """A file that a job left behind."""

    model_config = with_example(EXAMPLE_ARTIFACT)

    name: str
    size: int = Field(description="In bytes.")
    sha256: str
    url: str = Field(description="Where to download it.")

    @classmethod
    def of(cls, file: Artifact, owner: str) -> Self:
        """A file of the job or model at the address `owner`."""
        return cls(name=file.name, size=file.size, sha256=file.sha256, url=f"{owner}/artifacts/{file.name}")
