"""`/collections/{c}/review`: the pictures that a collection was least sure of, and what people say of them."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from app.access import Learner, Recogniser
from app.collections.dependencies import MODEL_ERRORS, CollectionPath, ThumbnailService
from app.collections.errors import CollectionNotFoundError
from app.collections.thumbnails import Size
from app.errors import InvalidInputError
from app.feedback.deciding import Reviewer
from app.feedback.decisions import ReviewDecision, Verdict
from app.feedback.dependencies import DecisionService, ReviewService
from app.feedback.errors import (
    AlreadyDecidedError,
    GuessChangedError,
    NotDecidedError,
    ReviewPictureNotFoundError,
)
from app.feedback.schemas import (
    BulkDecisionRequest,
    CurvePoint,
    DecisionRequest,
    GuessScore,
    ReviewDecisionInfo,
    ReviewDecisionList,
    ReviewPage,
    ReviewPictureInfo,
    ReviewStats,
)
from app.feedback.service import Order
from app.feedback.tables import ReviewPicture
from app.http.dependencies import AppSettings
from app.http.names import label_name, parse_id
from app.http.paging import PageQuery
from app.http.problems import responses
from app.settings import Settings

router = APIRouter(prefix="/collections/{collection}/review", tags=["review"])

_PicturePath = Annotated[str, Path(alias="id", description="Id of a picture of the queue.")]
_DECIDING_ERRORS = responses(
    CollectionNotFoundError, ReviewPictureNotFoundError, AlreadyDecidedError, GuessChangedError, *MODEL_ERRORS
)


@router.get("", responses=responses(CollectionNotFoundError))
async def list_review_pictures(
    caller: Recogniser,
    collection: CollectionPath,
    review: ReviewService,
    asked: PageQuery,
    order: Annotated[
        Order,
        Query(
            description="`margin`: the least sure first, not many alike in a row; a picture keeps its place while"
            " others are decided. `newest`: the newest first."
        ),
    ] = "margin",
) -> ReviewPage:
    """List the pictures that wait, with what the collection says of them now. Empty where the collection keeps none:
    `PATCH /v1/collections/{collection}` says whether it does.
    """
    rows: list[ReviewPicture]
    if order == "margin":
        by_place = asked.after(float, uuid.UUID)
        rows = await review.page_by_place(
            caller.workspace, collection, limit=asked.limit, after=None if by_place is None else by_place[:2]
        )
        page, following = asked.cut(rows, lambda row: (row.place, row.id))
    else:
        by_time = asked.after(datetime.fromisoformat, uuid.UUID)
        rows = await review.page_by_time(
            caller.workspace, collection, limit=asked.limit, after=None if by_time is None else by_time[:2]
        )
        page, following = asked.cut(rows, lambda row: (row.created_at.isoformat(), row.id))
    return ReviewPage(data=[_info(row, collection) for row in page], next=following)


@router.get("/stats", responses=responses(CollectionNotFoundError))
async def get_review_stats(
    caller: Recogniser, collection: CollectionPath, review: ReviewService
) -> ReviewStats:
    """Show how many pictures wait, how often people agreed with the collection, and how that went as it learned."""
    stats = await review.count(caller.workspace, collection)
    return ReviewStats(
        waiting=stats.waiting,
        decided=stats.decided,
        right=stats.right,
        relabelled=stats.relabelled,
        none=stats.none,
        skipped=stats.skipped,
        agreement=stats.agreement,
        curve=[CurvePoint.model_validate(point) for point in stats.curve],
    )


@router.post("", responses=_DECIDING_ERRORS)
async def decide_review_pictures(
    caller: Learner,
    collection: CollectionPath,
    wanted: BulkDecisionRequest,
    settings: AppSettings,
    decisions: DecisionService,
) -> ReviewDecisionList:
    """Say of several pictures what they show: all of them or, where one cannot be decided so, none."""
    most = settings.review.review_max_bulk
    if len(wanted.ids) > most:
        raise InvalidInputError(f"ids: at most {most} pictures at a time.", param="ids")
    reviewer = Reviewer(caller.workspace, caller.key_id)
    decided = await decisions.decide(reviewer, collection, wanted.ids, _verdict(wanted, settings))
    return ReviewDecisionList(data=[_to_info(decision) for decision in decided])


@router.post("/{id}", responses=_DECIDING_ERRORS)
async def decide_review_picture(
    caller: Learner,
    collection: CollectionPath,
    picture: _PicturePath,
    wanted: DecisionRequest,
    settings: AppSettings,
    decisions: DecisionService,
) -> ReviewDecisionInfo:
    """Say what a picture shows. A label, or that the guess is right, teaches it before this answers."""
    reviewer = Reviewer(caller.workspace, caller.key_id)
    wanted_id = parse_id(picture, ReviewPictureNotFoundError)
    (decided,) = await decisions.decide(reviewer, collection, [wanted_id], _verdict(wanted, settings))
    return _to_info(decided)


@router.delete(
    "/{id}/decision",
    responses=responses(CollectionNotFoundError, ReviewPictureNotFoundError, NotDecidedError),
)
async def undo_review_decision(
    caller: Learner, collection: CollectionPath, picture: _PicturePath, decisions: DecisionService
) -> ReviewDecisionInfo:
    """Take a decision back: the example that it taught is forgotten, and the picture waits again."""
    reviewer = Reviewer(caller.workspace, caller.key_id)
    undone = await decisions.undo(reviewer, collection, parse_id(picture, ReviewPictureNotFoundError))
    return _to_info(undone)


@router.get(
    "/{id}/image",
    response_class=Response,
    responses={
        200: {"description": "A JPEG.", "content": {"image/jpeg": {}}},
        304: {"description": "The client has it already."},
        **responses(CollectionNotFoundError, ReviewPictureNotFoundError),
    },
)
async def get_review_image(
    request: Request,
    caller: Recogniser,
    collection: CollectionPath,
    picture: _PicturePath,
    review: ReviewService,
    thumbnails: ThumbnailService,
    size: Size = 256,
) -> Response:
    """Show a picture of the queue, scaled down."""
    wanted = parse_id(picture, ReviewPictureNotFoundError)
    row = await review.find(caller.workspace, collection, wanted)
    gone = ReviewPictureNotFoundError("The image of this picture is gone.")
    return await thumbnails.respond(request, row.image_sha256, size, gone)


def _verdict(wanted: DecisionRequest, settings: Settings) -> Verdict:
    if wanted.label is None:
        return wanted.to_verdict(None)
    return wanted.to_verdict(label_name(wanted.label, settings.limits.max_text_chars))


def _info(row: ReviewPicture, collection: str) -> ReviewPictureInfo:
    return ReviewPictureInfo(
        id=row.id,
        created_at=row.created_at,
        request_id=row.request_id,
        image=f"/v1/collections/{collection}/review/{row.id}/image",
        scores=[GuessScore(label=str(label), score=float(score)) for label, score in row.scores],
        margin=row.margin,
        rejected=row.rejected,
        guess=row.guess,
        scored_version=row.scored_version,
    )


def _to_info(decided: ReviewDecision) -> ReviewDecisionInfo:
    return ReviewDecisionInfo(
        id=decided.id,
        decision=decided.decision,
        label=decided.label,
        example=decided.example,
        collection_version=decided.collection_version,
        waiting=decided.waiting,
    )
