"""A preparation job: an archive or a collection becomes a dataset's manifest and its report."""

from __future__ import annotations

import io
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.datasets.errors import DatasetNotFoundError
from app.datasets.tables import Dataset, DatasetImage
from app.folders.layout import LabelsFrom, OwnSplit
from app.jobs.errors import NotTrainableError
from app.jobs.spec import DatasetOutcome, Outcome
from app.media.images import ImageLimits
from app.methods.tasks import Task
from app.storage.archives import unpack_bounded
from workers.datasets import formats
from workers.datasets.preparing import (
    ACCEPTED,
    REFUSED,
    STATE_FILES,
    Checker,
    UnusableError,
    add_remarks,
    empty_summary,
    finish,
)
from workers.datasets.records import Format, Found, Remark
from workers.shared.data import collection_items
from workers.shared.run import JobRun
from workers.shared.store import storable

_CHECKPOINT_EVERY, _CHECKPOINT_SHARE = 2_048, 8
"""Entries between two checkpoints at least, and that share of what is done: each checkpoint holds all lines so far."""
_NOTED = 1_000
"""Images noted in one statement."""
_MANIFEST, _REPORT, _UPLOAD = "manifest.jsonl", "report.jsonl", "upload"
_PROGRESS = "progress.json"
_RULES = 3
"""Of reading folders and annotations; a checkpoint of others is not gone on with, since entries come otherwise."""


@dataclass(frozen=True)
class _Options:
    dataset: uuid.UUID
    format: Format | Literal["auto"]
    boxes: formats.Boxes
    labels_from: LabelsFrom
    own_split: OwnSplit
    split: list[float]
    seed: int

    @classmethod
    def of(cls, params: dict[str, Any]) -> _Options:
        """What a job's parameters say; jobs of older versions have fewer."""
        return cls(
            dataset=uuid.UUID(params["dataset"]),
            format=params["format"],
            boxes=params["boxes"],
            labels_from=params.get("labels_from", "auto"),
            own_split=params.get("own_split", "keep"),
            split=params["split"],
            seed=params["seed"],
        )

    def read(self, folder: Path, format_: Format) -> Found:
        """What the files say, read as asked."""
        return formats.read(
            folder, format_, boxes=self.boxes, labels_from=self.labels_from, own_split=self.own_split
        )


def prepare(run: JobRun) -> Outcome:
    """Check, split and write the manifest of the dataset that the job names.

    Raises ArchiveError for an upload that cannot be unpacked, NotTrainableError where nothing can be used,
    DatasetNotFoundError where the dataset was removed meanwhile.
    """
    params = run.spec.params
    how = _Options.of(params)
    state = run.scratch / "state"
    state.mkdir(exist_ok=True)
    manifest, report = run.scratch / _MANIFEST, run.scratch / _REPORT
    folder = f"datasets/{how.dataset}"
    run.phase("fitting")
    try:
        if run.spec.data is not None and run.spec.data.collection is not None:
            format_ = "collection"
            _copy_collection(run, state, params.get("task", "classification"))
        else:
            format_ = _check_upload(run, how, state)
        _note_images(run, how.dataset, _images(state))
        run.phase("saving")
        prepared = finish(state, manifest, report, how.split, how.seed)
    except NotTrainableError as error:
        _publish_refusals(run, how.dataset, report, error)
        raise
    run.files.put(f"{folder}/{_MANIFEST}", manifest)
    run.files.put(f"{folder}/{_REPORT}", report)
    return Outcome(
        dataset=DatasetOutcome(
            id=how.dataset,
            task=prepared.task,
            format=format_,
            summary=prepared.summary,
            manifest=f"{folder}/{_MANIFEST}",
        ),
        result={"dataset": str(how.dataset), **prepared.summary},
        metrics={name: prepared.summary[name] for name in ("examples", "images", "refused_total")},
        used_up=[f"{folder}/{_UPLOAD}"],
    )


def _publish_refusals(run: JobRun, dataset: uuid.UUID, report: Path, error: NotTrainableError) -> None:
    """Keep the report and the summary of a dataset of which nothing can be used, so that its maker sees why."""
    summary = error.summary if isinstance(error, UnusableError) else None
    if summary is None:  # it was not read at all
        report.write_text(json.dumps({"path": ".", "reason": error.detail}) + "\n")
        summary = empty_summary(Counter([error.detail]), [])
    run.files.put(f"datasets/{dataset}/{_REPORT}", report)
    with Session(run.engine) as session, session.begin():
        session.execute(
            update(Dataset)
            .where(Dataset.id == dataset, Dataset.workspace == run.task.workspace, Dataset.state != "ready")
            .values(summary=storable(summary))
        )


def _check_upload(run: JobRun, how: _Options, state: Path) -> str:
    """Unpack and check every file, going on where an earlier attempt stopped; the format."""
    folder = run.scratch / "unpacked"
    archive = run.scratch / _UPLOAD
    run.files.get(f"datasets/{how.dataset}/{_UPLOAD}", archive)
    unpacked = unpack_bounded(archive, folder, run.settings)
    archive.unlink()
    format_ = formats.detect(folder) if how.format == "auto" else how.format
    kinds = Counter(type(entry) for entry in how.read(folder, format_))
    total = kinds.total()
    run.log(f"{total - kinds[Remark]} entries in the format '{format_}'")
    done = 0
    if run.restored is not None and _read_progress_count(run.restored):
        for name in STATE_FILES:
            if (run.restored / name).exists():  # checkpoints of older versions hold no remarks
                shutil.copy(run.restored / name, state / name)
        done = _read_progress_count(run.restored)
    add_remarks(state, unpacked.remarks)
    limits = ImageLimits.from_settings(run.settings)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        checker = Checker(
            folder, limits, run.images.keep, pool, max_image_bytes=run.settings.limits.max_part_mb << 20
        )
        found = how.read(folder, format_)
        for reached, stored in checker.check(found, state, done=done):
            _note_images(run, how.dataset, stored)
            run.step(reached, total)
            due = reached - done >= max(_CHECKPOINT_EVERY, done // _CHECKPOINT_SHARE)
            if due or run.checkpoint_due(reached, 1 << 62):
                run.checkpoint(reached, partial(_keep, state, reached))
                run.stop_if_asked()
                done = reached
    shutil.rmtree(folder, ignore_errors=True)
    return format_


def _keep(state: Path, done: int, target: Path) -> None:
    for name in STATE_FILES:
        shutil.copy(state / name, target / name)
    (target / _PROGRESS).write_text(json.dumps({"done": done, "rules": _RULES}))


def _read_progress_count(restored: Path) -> int:
    """How many entries a checkpoint holds; 0 for one that was made by other rules."""
    progress = json.loads((restored / _PROGRESS).read_text())
    return int(progress["done"]) if progress.get("rules") == _RULES else 0


def _copy_collection(run: JobRun, state: Path, task: Task) -> None:
    """What it was taught, whose images are checked and stored already."""
    items = collection_items(run, task).items
    with (state / ACCEPTED).open("w") as out:
        for number, item in enumerate(items, 1):
            data = run.images.read(item.sha256)
            with Image.open(io.BytesIO(data)) as image:
                side = min(image.size)
            texts = {"label": item.label, "question": item.question, "answer": item.answer}
            line = {
                "path": item.sha256,
                "image": item.sha256,
                "side": side,
                "size": len(data),
                **{name: text for name, text in texts.items() if text is not None},
            }
            out.write(json.dumps(line) + "\n")
            run.step(number, len(items))
    (state / REFUSED).touch()


def _images(state: Path) -> Iterator[str]:
    with (state / ACCEPTED).open() as lines:
        for line in lines:
            yield json.loads(line)["image"]


def _note_images(run: JobRun, dataset: uuid.UUID, images: Iterable[str]) -> None:
    """That the dataset shows these images, so that nobody sweeps them away."""
    rest = iter(images)
    with Session(run.engine) as session, session.begin():
        if session.get(Dataset, dataset) is None:
            raise DatasetNotFoundError("The dataset was removed.")
        while wave := list(islice(rest, _NOTED)):
            rows = [{"dataset_id": dataset, "image_sha256": image} for image in wave]
            session.execute(insert(DatasetImage).values(rows).on_conflict_do_nothing())
