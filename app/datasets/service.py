"""What happens to datasets: kept, handed to a worker, looked at, forgotten.

The order loses nothing: file, row, job.
"""

from __future__ import annotations

import asyncio
import difflib
import uuid
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import BigInteger, delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.quota import StorageQuota
from app.collections.learning import Learning
from app.collections.service import Recognition
from app.datasets.errors import DatasetImageNotFoundError, DatasetNotFoundError
from app.datasets.images import ManifestRow, read_rows
from app.datasets.tables import Dataset, DatasetImage
from app.errors import ConflictError, shorten_name
from app.folders.layout import LabelsFrom, OwnSplit
from app.jobs.errors import JobNotFoundError, JobStateError, NotTrainableError
from app.jobs.service import Job, Jobs, states
from app.jobs.spec import DataRef, FileRef, JobSpec, ResolvedJob
from app.storage.database import Database
from app.storage.files import FileStore

REPORT = "report.jsonl"
MANIFEST = "manifest.jsonl"
UPLOAD = "upload"
UploadFormat = Literal["auto", "directory", "coco", "jsonl", "json", "csv", "voc", "yolo"]

_HOW = "GET /v1/datasets lists them, POST /v1/datasets makes one."
_MAX_NAMES = 2_000
"""So many datasets are compared with a text that is no id."""
_MAX_NEAR = 3


@dataclass(frozen=True)
class Preparation:
    """How an upload is to be read and split."""

    name: str
    format: UploadFormat = "auto"
    boxes: Literal["whole", "crops"] = "whole"
    labels_from: LabelsFrom = "auto"
    own_split: OwnSplit = "keep"
    split: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0
    task: Literal["classification", "vqa"] = "classification"
    """Of a collection: its labelled examples, or its answers. An upload says it by itself."""

    def params(self) -> dict[str, Any]:
        """As the worker reads them."""
        return {
            "format": self.format,
            "boxes": self.boxes,
            "labels_from": self.labels_from,
            "own_split": self.own_split,
            "split": list(self.split),
            "seed": self.seed,
            "task": self.task,
        }


@dataclass(frozen=True)
class DatasetView:
    """A dataset beside the job that prepares it."""

    row: Dataset
    job_state: str | None
    error: dict[str, Any] | None

    @property
    def state(self) -> Literal["preparing", "ready", "failed"]:
        """A dataset whose job ended without making it ready has failed."""
        if self.row.state == "ready":
            return "ready"
        return "failed" if self.job_state in (None, "failed", "cancelled", "succeeded") else "preparing"


def folder(dataset_id: uuid.UUID) -> str:
    """Where a dataset's files lie in the file store."""
    return f"datasets/{dataset_id}"


class Datasets:
    """The datasets of one service."""

    def __init__(
        self,
        database: Database,
        files: FileStore,
        jobs: Jobs,
        recognition: Recognition,
        learning: Learning,
        quota: StorageQuota,
    ) -> None:
        self._database = database
        self._files = files
        self._jobs = jobs
        self._recognition = recognition
        self._learning = learning
        self._quota = quota

    async def upload(self, workspace: str, archive: Path, how: Preparation) -> DatasetView:
        """Keep an archive and have a worker prepare it; raises WorkspaceFullError, OverloadedError and
        StoreUnavailableError.
        """
        size = await asyncio.to_thread(lambda: archive.stat().st_size)
        await self._quota.take(workspace, size)
        dataset_id = uuid.uuid4()
        await asyncio.to_thread(self._files.put, f"{folder(dataset_id)}/{UPLOAD}", archive)
        source = DataRef(dataset=dataset_id)
        return await self._begin(workspace, dataset_id, how, how.format, source, upload_bytes=size)

    async def from_collection(self, workspace: str, collection: str, how: Preparation) -> DatasetView:
        """Have a worker copy a collection's examples; raises CollectionNotFoundError, OverloadedError."""
        known = await self._recognition.resolve_collection(workspace, collection)
        return await self._begin(workspace, uuid.uuid4(), how, "collection", DataRef(collection=known.id))

    async def resolve(self, workspace: str, text: str) -> uuid.UUID:
        """A client's text as an id; raises DatasetNotFoundError, which names datasets that are nearly called so."""
        try:
            return uuid.UUID(text)
        except ValueError:
            pass
        query = select(Dataset.name, Dataset.id).where(Dataset.workspace == workspace)
        async with self._database.session() as session:
            rows = await session.execute(query.order_by(Dataset.created_at.desc()).limit(_MAX_NAMES))
            ids = dict(reversed(rows.all()))  # of datasets of one name the newest
        near = difflib.get_close_matches(text, ids, _MAX_NEAR)
        called = " or ".join(f"{ids[name]} (called '{name}')" for name in near)
        raise DatasetNotFoundError(
            f"'{shorten_name(text)}' is no dataset's id{f': did you mean {called}?' if called else '.'} {_HOW}"
        )

    async def get(self, workspace: str, dataset_id: uuid.UUID) -> DatasetView:
        """One dataset; raises DatasetNotFoundError."""
        async with self._database.session() as session:
            found = await _views(session, select(Dataset).where(*_of(workspace, dataset_id)))
        if not found:
            raise DatasetNotFoundError(f"There is no dataset '{dataset_id}'. {_HOW}")
        return found[0]

    async def page(
        self, workspace: str, *, limit: int, before: tuple[datetime, uuid.UUID] | None
    ) -> list[DatasetView]:
        """Datasets, the newest first."""
        query = select(Dataset).where(Dataset.workspace == workspace)
        if before is not None:
            query = query.where(tuple_(Dataset.created_at, Dataset.id) < before)
        query = query.order_by(Dataset.created_at.desc(), Dataset.id.desc()).limit(limit)
        async with self._database.session() as session:
            return await _views(session, query)

    async def teach(
        self, workspace: str, dataset_id: uuid.UUID, collection: str, splits: Sequence[str]
    ) -> Job:
        """Have a worker add the dataset's labelled examples to a collection.

        Raises DatasetNotFoundError, CollectionNotFoundError, ConflictError for a dataset that is not ready,
        NotTrainableError for one without labels, OverloadedError.
        """
        view = await self.get(workspace, dataset_id)
        if view.state != "ready":
            raise ConflictError("The dataset is not ready.")
        if view.row.task != "classification":
            raise NotTrainableError("The dataset's examples have no labels that a collection could learn.")
        known = await self._recognition.resolve_collection(workspace, collection)
        spec = JobSpec(
            kind="teach",
            task="classification",
            data=DataRef(dataset=dataset_id),
            base_model=known.encoder,
            base_kind="encoder",
            params={"collection": str(known.id), "splits": list(splits)},
        )
        return await self._jobs.queue(workspace, ResolvedJob(spec, "cpu"))

    async def delete(self, workspace: str, dataset_id: uuid.UUID) -> None:
        """Forget a dataset, its files and the images that nothing else shows; raises DatasetNotFoundError."""
        view = await self.get(workspace, dataset_id)
        if view.state == "preparing" and view.row.job_id is not None:
            with suppress(JobNotFoundError, JobStateError):  # it has just ended
                await self._jobs.cancel(workspace, view.row.job_id)
        async with self._database.session() as session:
            images = list(
                await session.scalars(
                    select(DatasetImage.image_sha256).where(DatasetImage.dataset_id == dataset_id)
                )
            )
            await session.execute(delete(Dataset).where(*_of(workspace, dataset_id)))
        await asyncio.to_thread(self._files.delete, folder(dataset_id))
        self._learning.drop_later(images)

    async def file(self, workspace: str, dataset_id: uuid.UUID, name: str) -> FileRef:
        """A dataset's report or manifest; raises DatasetNotFoundError where there is none (yet)."""
        view = await self.get(workspace, dataset_id)
        key = f"{folder(dataset_id)}/{name}"
        try:
            size = await asyncio.to_thread(self._files.size, key)
        except FileNotFoundError:
            why = "is not prepared yet"
            if view.state == "failed":
                why = f"could not be prepared and has no {name.partition('.')[0]}"
                why += f": {view.error['detail']}" if view.error else ""
            raise DatasetNotFoundError(f"The dataset {why.removesuffix('.')}.") from None
        return FileRef(name=name, key=key, sha256=str(dataset_id), size=size)

    async def images(
        self,
        workspace: str,
        dataset_id: uuid.UUID,
        *,
        start: int,
        limit: int,
        label: str | None,
        split: str | None,
    ) -> list[ManifestRow]:
        """At most `limit` examples by image from the byte `start` of the manifest on; raises as `file`, and
        InvalidInputError for a byte at which no example begins.
        """
        manifest = await self.file(workspace, dataset_id, MANIFEST)
        return await asyncio.to_thread(
            read_rows, self._files, manifest.key, start=start, limit=limit, label=label, split=split
        )

    async def expect_image(self, workspace: str, dataset_id: uuid.UUID, sha256: str) -> None:
        """Raise DatasetNotFoundError, or DatasetImageNotFoundError where the dataset does not show the image."""
        await self.get(workspace, dataset_id)
        async with self._database.session() as session:
            if await session.get(DatasetImage, (dataset_id, sha256)) is None:
                raise DatasetImageNotFoundError

    async def _begin(
        self,
        workspace: str,
        dataset_id: uuid.UUID,
        how: Preparation,
        format_: str,
        source: DataRef,
        *,
        upload_bytes: int = 0,
    ) -> DatasetView:
        row = Dataset(
            id=dataset_id, workspace=workspace, name=how.name, format=format_, upload_bytes=upload_bytes
        )
        async with self._database.session() as session:
            session.add(row)
        spec = JobSpec(
            kind="prepare", data=source, params={**how.params(), "dataset": str(dataset_id)}, seed=how.seed
        )
        try:
            job = await self._jobs.queue(workspace, ResolvedJob(spec, "cpu"))
        except BaseException:
            await self._forget(workspace, dataset_id)
            raise
        async with self._database.session() as session:
            begun = await session.get(Dataset, dataset_id)
            if begun is not None:
                begun.job_id = job.id
        return await self.get(workspace, dataset_id)

    async def _forget(self, workspace: str, dataset_id: uuid.UUID) -> None:
        async with self._database.session() as session:
            await session.execute(delete(Dataset).where(*_of(workspace, dataset_id)))
        await asyncio.to_thread(self._files.delete, folder(dataset_id))


async def view_of(session: AsyncSession, workspace: str, dataset_id: uuid.UUID) -> DatasetView | None:
    """One dataset, in the caller's transaction."""
    found = await _views(session, select(Dataset).where(*_of(workspace, dataset_id)))
    return found[0] if found else None


async def _views(session: AsyncSession, wanted: Any) -> list[DatasetView]:
    rows: Sequence[Dataset] = list(await session.scalars(wanted))
    jobs = await states(session, [row.job_id for row in rows if row.job_id is not None])
    views = []
    for row in rows:
        state, error = (jobs.get(row.job_id) if row.job_id else None) or (None, None)
        views.append(DatasetView(row, state, error))
    return views


async def find_names(session: AsyncSession, ids: Set[uuid.UUID]) -> dict[uuid.UUID, str]:
    """What the datasets of these ids are called; those still there."""
    rows = await session.execute(select(Dataset.id, Dataset.name).where(Dataset.id.in_(ids)))
    return {row.id: row.name for row in rows}


async def find_shown_images(session: AsyncSession, hashes: Sequence[str]) -> set[str]:
    """Those of the images that a dataset of any workspace shows, in the caller's transaction."""
    query = select(DatasetImage.image_sha256).where(DatasetImage.image_sha256.in_(hashes))
    return set(await session.scalars(query))


async def count_stored_bytes(session: AsyncSession, workspace: str) -> int:
    """Bytes of the workspace's datasets: of those that are ready their images, of others the archive."""
    size = func.coalesce(Dataset.summary["bytes"].astext.cast(BigInteger), Dataset.upload_bytes)
    query = select(func.coalesce(func.sum(size), 0)).where(Dataset.workspace == workspace)
    return int(await session.scalar(query) or 0)


def _of(workspace: str, dataset_id: uuid.UUID) -> tuple[Any, Any]:
    return Dataset.workspace == workspace, Dataset.id == dataset_id
