"""What there is to learn from, counted: a collection's labels and answers, or a dataset's summary.

Knows rows and counts; reads no image and decides nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.answers.tables import AnswerExample
from app.collections.directory import KnownCollection
from app.collections.tables import Example, Label
from app.datasets.errors import DatasetNotFoundError
from app.errors import ConflictError
from app.jobs import repository
from app.jobs.spec import DataRef
from app.jobs.tables import Job
from app.methods.tasks import Task


@dataclass(frozen=True)
class LearningData:
    """Counts of one collection or dataset."""

    ref: DataRef
    name: str
    """For people: "the collection 'mugs'"."""
    slug: str
    """Begins the name of a model that was trained on it."""
    tasks: frozenset[Task]
    """What its examples can teach."""
    labels: Mapping[str, int] = field(default_factory=dict)
    """Label -> examples of it, all splits together."""
    answers: int = 0
    """Examples whose answer is text."""
    is_split: bool = False
    """Whether it brings validation examples of its own."""
    encoder: str | None = None
    """What a collection is bound to."""

    def examples(self, task: Task) -> int:
        """How many examples teach this task."""
        return sum(self.labels.values()) if task == "classification" else self.answers


async def of_collection(session: AsyncSession, known: KnownCollection) -> LearningData:
    """Count a collection's examples and answers."""
    rows = await session.execute(
        select(Label.name, func.count())
        .join(Example, Example.label_id == Label.id)
        .where(Label.collection_id == known.id)
        .group_by(Label.name)
        .order_by(Label.name)
    )
    answers = await session.scalar(
        select(func.count()).where(AnswerExample.collection_id == known.id).select_from(AnswerExample)
    )
    return LearningData(
        ref=DataRef(collection=known.id),
        name=f"the collection '{known.name}'",
        slug=known.name,
        tasks=frozenset({"classification", "vqa", "caption"}),
        labels=dict(rows.all()),
        answers=answers or 0,
        encoder=known.encoder,
    )


async def of_dataset(session: AsyncSession, workspace: str, dataset_id: uuid.UUID) -> LearningData:
    """What preparing a dataset counted; raises DatasetNotFoundError, and ConflictError before it is ready."""
    row = await repository.dataset(session, workspace, dataset_id)
    if row is None:
        raise DatasetNotFoundError
    if row.state != "ready" or row.task is None:
        job = None if row.job_id is None else await session.get(Job, row.job_id)
        waits = job is not None and job.state not in repository.FINISHED
        why = (
            "is still being prepared"
            if waits
            else f"could not be prepared: GET /v1/datasets/{row.id} says why"
        )
        raise ConflictError(f"The dataset '{row.name}' {why}.")
    summary = row.summary or {}
    labels = {label: sum(splits.values()) for label, splits in summary.get("labels", {}).items()}
    task: Task = row.task  # type: ignore[assignment]
    return LearningData(
        ref=DataRef(dataset=row.id),
        name=f"the dataset '{row.name}'",
        slug=row.name,
        tasks=frozenset({task}),
        labels=labels,
        answers=0 if task == "classification" else int(summary.get("examples", 0)),
        is_split=bool(summary.get("splits", {}).get("validation")),
    )
