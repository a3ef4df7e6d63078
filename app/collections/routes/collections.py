"""`/collections`: named sets of labels, made, listed, bound to another encoder and dropped."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from app import errors
from app.access import Learner, Recogniser
from app.collections import listing
from app.collections.changes import CollectionChange, ReviewSpan
from app.collections.dependencies import (
    MODEL_ERRORS,
    CollectionPath,
    LearningService,
    RebindingService,
    RecognitionService,
)
from app.collections.errors import CollectionExistsError, CollectionNotFoundError, DefaultCollectionError
from app.collections.listing import CollectionRow
from app.collections.reviewing import ReviewChoice, set_review
from app.collections.schemas import (
    CollectionInfo,
    CollectionList,
    CollectionRequest,
    LabelInfo,
    LabelList,
)
from app.collections.service import Recognition
from app.heads import LabelShares
from app.http.dependencies import AppDatabase, AppSettings
from app.http.paging import PageQuery
from app.http.problems import responses
from app.inference.errors import ModelNotFoundError
from app.jobs.dependencies import JobDescriber
from app.jobs.info import JobInfo

router = APIRouter(prefix="/collections", tags=["collections"])


@router.post(
    "",
    status_code=201,
    responses=responses(CollectionExistsError, ModelNotFoundError, *MODEL_ERRORS),
)
async def create_collection(
    caller: Learner, wanted: CollectionRequest, recognition: RecognitionService, learning: LearningService
) -> CollectionInfo:
    """Make a collection, bound to one encoder."""
    row = await learning.create(caller.workspace, wanted.name, wanted.encoder, wanted.label_shares)
    return _info(recognition, row)


@router.get("")
async def list_collections(
    caller: Recogniser, asked: PageQuery, learning: LearningService, recognition: RecognitionService
) -> CollectionList:
    """List collections by name."""
    after = asked.after(str)
    await recognition.ensure_default(caller.workspace)
    rows = await learning.page(caller.workspace, limit=asked.limit, after=after[0] if after else "")
    page, following = asked.cut(rows, lambda row: (row.collection.name,))
    return CollectionList(data=[_info(recognition, row) for row in page], next=following)


@router.get("/{collection}", responses=responses(CollectionNotFoundError))
async def get_collection(
    caller: Recogniser, collection: CollectionPath, learning: LearningService, recognition: RecognitionService
) -> CollectionInfo:
    """Show one collection."""
    await recognition.resolve_collection(caller.workspace, collection)
    rows = await learning.page(caller.workspace, limit=1, name=collection)
    if not rows:
        raise CollectionNotFoundError
    return _info(recognition, rows[0])


@router.patch(
    "/{collection}",
    status_code=202,
    response_model=JobInfo,
    responses={
        200: {"model": CollectionInfo, "description": "The collection, where it keeps its encoder."},
        **responses(CollectionNotFoundError, ModelNotFoundError, errors.ConflictError),
    },
)
async def change_collection(
    response: Response,
    caller: Learner,
    collection: CollectionPath,
    wanted: CollectionChange,
    settings: AppSettings,
    recognition: RecognitionService,
    learning: LearningService,
    rebinding: RebindingService,
    describer: JobDescriber,
) -> JobInfo | Response:
    """Bind a collection to another encoder, answered at once with the job that embeds every example again and then
    swaps; until then all goes on. Or say how often its labels are expected, or what it keeps for review: both hold at
    once.
    """
    if wanted.changes_review:
        choice = _choose_review(wanted.review, settings)
        row = await set_review(learning, caller.workspace, collection, choice)
        return JSONResponse(_info(recognition, row).model_dump(mode="json"))
    if wanted.label_shares is not None:
        row = await learning.expect_labels(caller.workspace, collection, wanted.label_shares)
        return JSONResponse(_info(recognition, row).model_dump(mode="json"))
    known = await recognition.resolve_collection(caller.workspace, collection)
    job = await rebinding.reembed(caller.workspace, known, wanted.encoder or "")
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return await describer.describe(job)


@router.delete(
    "/{collection}",
    status_code=204,
    responses=responses(CollectionNotFoundError, DefaultCollectionError),
)
async def delete_collection(
    caller: Learner, collection: CollectionPath, learning: LearningService
) -> Response:
    """Delete a collection with all its labels and examples."""
    await learning.drop(caller.workspace, collection)
    return Response(status_code=204)


@router.get("/{collection}/labels", responses=responses(CollectionNotFoundError))
async def list_labels(
    caller: Recogniser,
    collection: CollectionPath,
    asked: PageQuery,
    database: AppDatabase,
    recognition: RecognitionService,
) -> LabelList:
    """List a collection's labels by name."""
    after = asked.after(str)
    known = await recognition.resolve_collection(caller.workspace, collection)
    async with database.session() as session:
        rows = await listing.list_labels(
            session, known.id, limit=asked.limit, after=after[0] if after else ""
        )
    page, following = asked.cut(rows, lambda row: row[:1])
    data = [LabelInfo(label=name, description=text, examples=count) for name, text, count in page]
    return LabelList(data=data, next=following)


def _span(keep: int | None, days: int | None) -> ReviewSpan | None:
    return None if keep is None or days is None else ReviewSpan(keep=keep, days=days)


def _choose_review(wanted: ReviewSpan | None, settings: AppSettings) -> ReviewChoice | None:
    """What a client chose; a default that it left goes no further than the settings allow."""
    if wanted is None:
        return None
    limits = {"keep": settings.review.review_max_pictures, "days": settings.review.review_max_days}
    chosen = {}
    for name, most in limits.items():
        value = int(getattr(wanted, name))
        if value > most and name in wanted.model_fields_set:
            raise errors.InvalidInputError(
                f"review.{name}: it must be at most {most}.", param=f"review.{name}"
            )
        chosen[name] = min(value, most)
    return ReviewChoice(**chosen)


def _info(recognition: Recognition, row: CollectionRow) -> CollectionInfo:
    collection = row.collection
    return CollectionInfo(
        name=collection.name,
        encoder=recognition.name_encoder(collection.encoder),
        version=collection.version,
        label_shares=cast("LabelShares", collection.label_shares),
        review=_span(collection.review_keep, collection.review_days),
        labels=row.labels,
        examples=row.examples,
        answers=row.answers,
        created_at=collection.created_at,
    )
