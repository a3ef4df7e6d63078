"""What there is to learn from, counted: a collection's labels and answers, or a dataset's summary."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession

from app.answers.service import count_answers
from app.collections.directory import KnownCollection
from app.collections.listing import count_labels
from app.datasets.errors import DatasetNotFoundError
from app.datasets.service import view_of
from app.errors import ConflictError
from app.jobs.spec import DataRef
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
    label_splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Label -> examples of it by split; empty for a collection, which has no splits."""
    splits: Mapping[str, int] = field(default_factory=dict)
    """Examples by split; empty for a collection."""
    answers: int = 0
    """Examples whose answer is text."""
    is_split: bool = False
    """Whether it brings validation examples of its own."""
    encoder: str | None = None
    """What a collection is bound to."""

    @property
    def is_collection(self) -> bool:
        """Whether it is a collection, all of whose examples may be trained on."""
        return self.ref.collection is not None

    def count_trainable(self, label: str) -> int:
        """Examples of the label that may be trained on."""
        return self.label_splits[label].get("train", 0) if self.label_splits else self.labels[label]

    def examples(self, task: Task) -> int:
        """How many examples teach this task."""
        return sum(self.labels.values()) if task == "classification" else self.answers


async def of_collection(session: AsyncSession, known: KnownCollection) -> LearningData:
    """Count a collection's examples and answers."""
    labels = await count_labels(session, known.id)
    answers = await count_answers(session, [known.id])
    return LearningData(
        ref=DataRef(collection=known.id),
        name=f"the collection '{known.name}'",
        slug=known.name,
        tasks=frozenset({"classification", "vqa", "caption"}),
        labels=labels,
        answers=answers.get(known.id, 0),
        encoder=known.encoder,
    )


async def of_dataset(session: AsyncSession, workspace: str, dataset_id: uuid.UUID) -> LearningData:
    """What preparing a dataset counted; raises DatasetNotFoundError, and ConflictError before it is ready."""
    view = await view_of(session, workspace, dataset_id)
    if view is None:
        raise DatasetNotFoundError(
            f"There is no dataset '{dataset_id}': GET /v1/datasets lists them, POST /v1/datasets makes one."
        )
    row = view.row
    if row.state != "ready" or row.task is None:
        why = (
            "is still being prepared"
            if view.state == "preparing"
            else f"could not be prepared: GET /v1/datasets/{row.id} says why"
        )
        raise ConflictError(f"The dataset '{row.name}' {why}.")
    summary = row.summary or {}
    label_splits = summary.get("labels", {})
    splits = summary.get("splits", {})
    task: Task = row.task  # type: ignore[assignment]
    return LearningData(
        ref=DataRef(dataset=row.id),
        name=f"the dataset '{row.name}'",
        slug=row.name,
        tasks=frozenset({task}),
        labels={label: sum(counts.values()) for label, counts in label_splits.items()},
        label_splits=label_splits,
        splits=splits,
        answers=0 if task == "classification" else int(summary.get("examples", 0)),
        is_split=bool(splits.get("validation")),
    )
