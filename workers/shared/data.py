"""What a job learns from, read once: a collection as it is now, or a dataset's manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.answers.tables import AnswerExample
from app.collections.errors import CollectionNotFoundError
from app.collections.tables import Collection, Example, Label
from app.datasets.errors import DatasetNotFoundError
from app.datasets.tables import Dataset
from app.heads import LabelShares
from app.jobs.errors import NotTrainableError
from app.methods.tasks import Task
from workers.shared.examples import Examples, Item
from workers.shared.run import JobRun

MANIFEST = "manifest.jsonl"
SNAPSHOT = "examples.json"


class NoExamplesError(NotTrainableError):
    """Whatever the data held is gone."""


GONE = (CollectionNotFoundError, DatasetNotFoundError, NoExamplesError, FileNotFoundError)
"""The error of a job whose data, or all examples of it, were deleted."""


def load_examples(run: JobRun, task: Task | None = None) -> Examples:
    """The examples that the job's specification names, as `task` (left out: the specification's) reads them; a
    collection's as they were for the first attempt, so that a later one goes on with the same.

    Raises CollectionNotFoundError, DatasetNotFoundError where they are gone since, NoExamplesError for none.
    """
    spec = run.spec
    if spec.data is None or spec.task is None:
        raise NotTrainableError("The job names no examples.")
    task = task or spec.task
    found = _of_dataset(run, task) if spec.data.dataset is not None else _snapshot(run, task)
    if not found.items:
        raise NoExamplesError("There are no examples to learn from.")
    return found


def _snapshot(run: JobRun, task: Task) -> Examples:
    key = f"jobs/{run.task.job}/{SNAPSHOT}"
    path = run.scratch / SNAPSHOT
    if not run.files.exists(key):
        found = collection_items(run, task)
        if run.rank == 0:
            noted = {
                "source": found.source,
                "descriptions": found.descriptions,
                "label_shares": found.label_shares,
                "items": [*map(asdict, found.items)],
            }
            path.write_text(json.dumps(noted))
            run.files.put(key, path)
        return found
    run.files.get(key, path)
    noted = json.loads(path.read_text())
    items = [Item(**fields) for fields in noted["items"]]
    return Examples(
        task,
        items,
        run.images.read,
        descriptions=noted["descriptions"],
        source=noted["source"],
        label_shares=noted.get("label_shares", "equal"),  # a snapshot of an older version has none
    )


def collection_items(run: JobRun, task: Task) -> Examples:
    """A collection as it is now; raises CollectionNotFoundError."""
    with Session(run.engine) as session:
        collection = session.scalar(
            select(Collection).where(
                Collection.id == (run.spec.data and run.spec.data.collection),
                Collection.workspace == run.task.workspace,
            )
        )
        if collection is None:
            raise CollectionNotFoundError("The collection is gone.")
        descriptions: dict[str, str] = {}
        items: list[Item] = []
        if task == "classification":
            rows = session.execute(
                select(Example.image_sha256, Label.name, Label.description)
                .join(Label, Label.id == Example.label_id)
                .where(Example.collection_id == collection.id)
            )
            for sha256, label, description in rows:
                items.append(Item(sha256, label=label))
                if description:
                    descriptions[label] = description
        else:
            answers = session.scalars(
                select(AnswerExample).where(AnswerExample.collection_id == collection.id)
            )
            items = [
                Item(
                    answer.image_sha256,
                    question=answer.question if task == "vqa" else None,
                    answer=answer.answer,
                )
                for answer in answers
            ]
        source = f"collection {collection.name}, version {collection.version}"
        shares = cast("LabelShares", collection.label_shares)
    return Examples(
        task, items, run.images.read, descriptions=descriptions, source=source, label_shares=shares
    )


def _of_dataset(run: JobRun, task: Task) -> Examples:
    with Session(run.engine) as session:
        dataset = session.scalar(
            select(Dataset).where(
                Dataset.id == (run.spec.data and run.spec.data.dataset),
                Dataset.workspace == run.task.workspace,
            )
        )
        if dataset is None or dataset.manifest is None:
            raise DatasetNotFoundError("The dataset is gone.")
        name, key = f"dataset {dataset.name}", dataset.manifest
    path = run.scratch / MANIFEST
    run.files.get(key, path)
    with path.open() as lines:
        items = list(_items(lines))
    return Examples(task, items, run.images.read, source=name)


def _items(lines: Iterator[str]) -> Iterator[Item]:
    """One a line; words that come again and again (splits, labels, questions) are kept once."""
    words: dict[str | None, Any] = {}
    for line in lines:
        row = json.loads(line)
        split, label, question, answer = (
            words.setdefault(row.get(name), row.get(name))
            for name in ("split", "label", "question", "answer")
        )
        yield Item(row["image"], split, label, question, answer)
