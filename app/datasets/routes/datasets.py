"""`/datasets`: upload, list, look at and forget datasets."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Path, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, Field

from app import errors
from app.access import Caller, Recogniser, Trainer
from app.access.errors import WorkspaceFullError
from app.access.quota import check_room_for_body
from app.collections.errors import CollectionNotFoundError
from app.datasets.dependencies import DatasetService
from app.datasets.errors import DatasetNotFoundError
from app.datasets.schemas import DatasetInfo, DatasetList
from app.datasets.service import MANIFEST, REPORT, Datasets, DatasetView, Preparation, UploadFormat
from app.errors import InvalidInputError
from app.folders.layout import LabelsFrom, OwnSplit
from app.http.bodies import RequestBody, with_example
from app.http.dependencies import AppSettings
from app.http.errors import SlowUploadError, UnsupportedMediaTypeError
from app.http.fields import Form
from app.http.names import CollectionName
from app.http.paging import PageQuery
from app.http.problems import responses
from app.http.upload_forms import ArchiveForm, ReceivedArchive
from app.jobs import streaming
from app.jobs.dependencies import JobDescriber, JobFiles
from app.jobs.errors import NotTrainableError
from app.jobs.info import JobInfo
from app.storage.archive_entries import ArchiveLimits
from app.storage.archives import check_head
from app.storage.errors import ArchiveError, StoreUnavailableError
from app.storage.files import FileStore

router = APIRouter(prefix="/datasets", tags=["datasets"])

DatasetPath = Annotated[str, Path(alias="dataset", description="Id of a dataset.")]

Boxes = Literal["whole", "crops"]
MAX_NAME_CHARS = 100
MAX_SEED = 2**31
_NOT_FOUND = responses(DatasetNotFoundError)


def _parse_shares(text: str) -> list[float]:
    try:
        return [float(share) for share in json.loads(f"[{text.strip('[] ')}]")]
    except (ValueError, TypeError):
        raise InvalidInputError("split: give shares such as 0.8,0.1,0.1.") from None


def _check_shares(text: str) -> str:
    _shares(_parse_shares(text))
    return text


def _check_seed(seed: int) -> int:
    if not 0 <= seed < MAX_SEED:
        raise ValueError("this is not a whole number from 0 on")
    return seed


class DatasetForm(Form):
    """What the archive holds, and how it is split."""

    name: str | None = Field(None, max_length=MAX_NAME_CHARS, description="What to call it.")
    format: UploadFormat = Field(
        "auto",
        description="How the archive is laid out: a folder a label (`directory`), COCO, JSON lines or a JSON list of "
        "objects, a table, Pascal VOC or YOLO; `auto` looks.",
    )
    boxes: Boxes = Field(
        "whole", description="What a box becomes: the label of the whole image, or a crop of its own."
    )
    labels_from: LabelsFrom = Field(
        "auto",
        description="Which of the folders around an image is its label: the first (`top`) or the last one (`parent`)"
        " below those around everything; auto: the first, refused where inner ones look like labels too.",
    )
    own_split: OwnSplit = Field(
        "keep",
        description="A split that the data brings, by folders, file names or a column: kept, or ignored (then every"
        " image is split anew).",
    )
    split: Annotated[str, AfterValidator(_check_shares)] = Field(
        "0.8,0.1,0.1",
        description="Shares of train, validation and test, where the data brings no split of its own.",
    )
    seed: Annotated[int, AfterValidator(_check_seed)] = Field(
        0, description="The same one splits the same images alike."
    )

    def preparation(self) -> Preparation:
        """The parameters of the job that prepares the archive."""
        return Preparation(
            self.name or "dataset",
            self.format,
            self.boxes,
            self.labels_from,
            self.own_split,
            split=_shares(_parse_shares(self.split)),
            seed=self.seed,
        )


UPLOAD = ArchiveForm(DatasetForm, "A zip, tar, tar.gz, tar.bz2 or tar.xz.")


class FromCollection(RequestBody):
    """A dataset made of what a collection was taught."""

    model_config = with_example({"collection": "mugs", "name": "mugs of May"})

    collection: CollectionName = Field(description="Whose examples.")
    name: str | None = Field(
        None, min_length=1, max_length=MAX_NAME_CHARS, description="Empty: the collection's."
    )
    task: Literal["classification", "vqa"] = Field(
        "classification",
        description="What of the collection: its labelled examples, or its questions with answers.",
    )
    split: tuple[float, float, float] = Field(
        (0.8, 0.1, 0.1), description="Shares of train, validation and test."
    )
    seed: int = Field(0, ge=0, lt=MAX_SEED, description="The same one splits the same images alike.")


class IntoCollection(RequestBody):
    """Which of a dataset's examples a collection learns."""

    model_config = with_example({"collection": "mugs", "splits": ["train"]})

    collection: CollectionName = Field(description="What learns.")
    splits: list[Literal["train", "validation", "test"]] = Field(
        ["train"], min_length=1, description="Which of its examples."
    )


@router.post(
    "",
    status_code=202,
    responses=responses(
        SlowUploadError,
        errors.TooLargeError,
        WorkspaceFullError,
        UnsupportedMediaTypeError,
        errors.InvalidInputError,
        ArchiveError,
        errors.OverloadedError,
        StoreUnavailableError,
    ),
    openapi_extra=UPLOAD.openapi(),
    dependencies=[Depends(check_room_for_body)],
)
async def create_dataset(
    response: Response,
    caller: Trainer,
    upload: Annotated[ReceivedArchive[DatasetForm], Depends(UPLOAD)],
    settings: AppSettings,
    datasets: DatasetService,
) -> DatasetInfo:
    """Upload a dataset; a worker checks each image, splits them and reports what it refused."""
    await asyncio.to_thread(check_head, upload.path, ArchiveLimits.from_settings(settings))
    view = await datasets.upload(caller.workspace, upload.path, upload.fields.preparation())
    _set_location(response, view)
    return info(view)


@router.post(
    "/from-collection",
    status_code=202,
    responses=responses(
        CollectionNotFoundError, WorkspaceFullError, errors.InvalidInputError, errors.OverloadedError
    ),
)
async def create_from_collection(
    response: Response, caller: Trainer, wanted: FromCollection, datasets: DatasetService
) -> DatasetInfo:
    """Make a dataset of a collection's labelled examples, or of its answers, as they are now."""
    how = Preparation(
        wanted.name or wanted.collection,
        split=_shares(list(wanted.split)),
        seed=wanted.seed,
        task=wanted.task,
    )
    view = await datasets.from_collection(caller.workspace, wanted.collection, how)
    _set_location(response, view)
    return info(view)


@router.post(
    "/{dataset}/teach",
    status_code=202,
    responses=responses(
        DatasetNotFoundError,
        CollectionNotFoundError,
        errors.ConflictError,
        WorkspaceFullError,
        NotTrainableError,
        errors.OverloadedError,
    ),
)
async def teach_collection(
    response: Response,
    caller: Trainer,
    dataset: DatasetPath,
    wanted: IntoCollection,
    describer: JobDescriber,
    datasets: DatasetService,
) -> JobInfo:
    """Teach a collection the dataset's labelled examples."""
    job = await datasets.teach(
        caller.workspace, await datasets.resolve(caller.workspace, dataset), wanted.collection, wanted.splits
    )
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = "2"
    return await describer.describe(job)


@router.get("")
async def list_datasets(caller: Recogniser, asked: PageQuery, datasets: DatasetService) -> DatasetList:
    """List datasets, the newest first."""
    before = asked.after(datetime.fromisoformat, uuid.UUID)
    views = await datasets.page(caller.workspace, limit=asked.limit, before=before)
    page, following = asked.cut(views, lambda view: (view.row.created_at.isoformat(), view.row.id))
    return DatasetList(data=[info(view) for view in page], next=following)


@router.get("/{dataset}", responses=_NOT_FOUND)
async def get_dataset(caller: Recogniser, dataset: DatasetPath, datasets: DatasetService) -> DatasetInfo:
    """Show one dataset: its balance, sizes, splits and what was refused."""
    return info(await datasets.get(caller.workspace, await datasets.resolve(caller.workspace, dataset)))


@router.delete("/{dataset}", status_code=204, responses=_NOT_FOUND)
async def delete_dataset(caller: Trainer, dataset: DatasetPath, datasets: DatasetService) -> Response:
    """Forget a dataset and the images that nothing else shows."""
    await datasets.delete(caller.workspace, await datasets.resolve(caller.workspace, dataset))
    return Response(status_code=204)


@router.get("/{dataset}/report", response_class=StreamingResponse, responses=_NOT_FOUND)
async def get_report(
    caller: Recogniser, dataset: DatasetPath, files: JobFiles, datasets: DatasetService
) -> StreamingResponse:
    """Download what was refused, a file and its reason on each line."""
    return await _file(files, datasets, caller, dataset, REPORT)


@router.get("/{dataset}/manifest", response_class=StreamingResponse, responses=_NOT_FOUND)
async def get_manifest(
    caller: Recogniser, dataset: DatasetPath, files: JobFiles, datasets: DatasetService
) -> StreamingResponse:
    """Download the examples, one on each line: image (SHA-256), split and texts."""
    return await _file(files, datasets, caller, dataset, MANIFEST)


def info(view: DatasetView) -> DatasetInfo:
    """A dataset as clients see it."""
    row = view.row
    return DatasetInfo(
        id=row.id,
        name=row.name,
        state=view.state,
        task=cast(Any, row.task),
        format=row.format,
        summary=row.summary,
        error=view.error if view.state == "failed" else None,
        job=row.job_id,
        created_at=row.created_at,
    )


async def _file(
    files: FileStore, datasets: Datasets, caller: Caller, dataset: str, name: str
) -> StreamingResponse:
    found = await datasets.file(caller.workspace, await datasets.resolve(caller.workspace, dataset), name)
    return await streaming.download(files, found)


def _shares(parts: list[float]) -> tuple[float, float, float]:
    if len(parts) == 2:
        parts = [*parts, 0.0]
    good = len(parts) == 3 and all(0 <= part <= 1 for part in parts) and parts[0] > 0
    if not good or abs(sum(parts) - 1) > 1e-6:
        raise InvalidInputError("split: two or three shares that add up to 1, the first above 0.")
    return parts[0], parts[1], parts[2]


def _set_location(response: Response, view: DatasetView) -> None:
    response.headers["Location"] = f"/v1/datasets/{view.row.id}"
    response.headers["Retry-After"] = "2"
