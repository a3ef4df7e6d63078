"""`/datasets/{d}/images`: what a dataset's images look like, by label and split."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from app.access import Recogniser
from app.collections.dependencies import ThumbnailService
from app.collections.thumbnails import Size
from app.datasets.dependencies import DatasetService
from app.datasets.errors import DatasetImageNotFoundError, DatasetNotFoundError
from app.datasets.images import ManifestRow
from app.datasets.routes.datasets import DatasetPath
from app.datasets.schemas import DatasetImageInfo, DatasetImageList
from app.http.dependencies import AppSettings
from app.http.names import label_name
from app.http.paging import PageQuery
from app.http.problems import responses

router = APIRouter(prefix="/datasets/{dataset}/images", tags=["datasets"])

_SHA256 = re.compile("[0-9a-f]{64}")


@router.get("", responses=responses(DatasetNotFoundError))
async def list_images(
    caller: Recogniser,
    dataset: DatasetPath,
    datasets: DatasetService,
    settings: AppSettings,
    asked: PageQuery,
    label: Annotated[str | None, Query(description="Only this label.")] = None,
    split: Annotated[
        Literal["train", "validation", "test"] | None, Query(description="Only this split.")
    ] = None,
) -> DatasetImageList:
    """List a dataset's examples, by image; an image with several questions comes several times."""
    after = asked.after(_offset)
    dataset_id = await datasets.resolve(caller.workspace, dataset)
    rows = await datasets.images(
        caller.workspace,
        dataset_id,
        start=after[0] if after else 0,
        limit=asked.limit,
        label=None if label is None else label_name(label, settings.limits.max_text_chars),
        split=split,
    )
    page, following = asked.cut(rows, lambda row: (row.end,))
    return DatasetImageList(data=[_info(row, str(dataset_id)) for row in page], next=following)


@router.get(
    "/{sha256}",
    response_class=Response,
    responses={
        200: {"description": "A JPEG.", "content": {"image/jpeg": {}}},
        304: {"description": "The client has it already."},
        **responses(DatasetNotFoundError, DatasetImageNotFoundError),
    },
)
async def get_image(
    request: Request,
    caller: Recogniser,
    dataset: DatasetPath,
    sha256: Annotated[str, Path(description="SHA-256 of a stored image, as the manifest names it.")],
    datasets: DatasetService,
    thumbnails: ThumbnailService,
    size: Size = 256,
) -> Response:
    """Show one image of a dataset, scaled down."""
    dataset_id = await datasets.resolve(caller.workspace, dataset)
    if _SHA256.fullmatch(sha256) is None:
        raise DatasetImageNotFoundError
    await datasets.expect_image(caller.workspace, dataset_id, sha256)
    return await thumbnails.respond(request, sha256, size, DatasetImageNotFoundError())


def _offset(text: str) -> int:
    if not re.fullmatch("[0-9]{1,15}", text):
        raise ValueError(text)
    return int(text)


def _info(row: ManifestRow, dataset: str) -> DatasetImageInfo:
    return DatasetImageInfo(
        image_sha256=row.image_sha256,
        split=row.split,
        label=row.label,
        question=row.question,
        answer=row.answer,
        image=f"/v1/datasets/{dataset}/images/{row.image_sha256}",
    )
