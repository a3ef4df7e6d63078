"""The review screen of LlamaFarm's Designer over the review queues of all collections of a workspace."""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field

from app.access import Learner, Recogniser
from app.collections.dependencies import MODEL_ERRORS, ThumbnailService
from app.collections.errors import CollectionNotFoundError
from app.collections.thumbnails import Thumbnail
from app.compat.reading import Body, check_labels, describe_body, read_body
from app.feedback.deciding import Reviewer
from app.feedback.decisions import Verdict
from app.feedback.dependencies import DecisionService, ReviewService
from app.feedback.errors import AlreadyDecidedError, ReviewPictureNotFoundError
from app.feedback.service import PendingPicture
from app.http.dependencies import AppSettings
from app.http.fields import WholeNumber
from app.http.names import COLLECTION_MODEL, label_name, parse_id
from app.http.problems import responses

IMAGE_SIDE = 512
"""Pixels of the longest side of a picture on the screen."""
_MAX_PAGE_SIZE = 100

router = APIRouter(prefix="/vision/review", tags=["other clients"])


class DecideBody(Body):
    """`POST /v1/vision/review/decide`."""

    id: str
    decision: Literal["correct", "wrong", "skip"]
    corrected_class: str | None = Field(
        None, description="With `wrong`, what it shows, which is taught; empty: none of the labels."
    )


@router.get("/pending")
async def list_pending(
    caller: Recogniser,
    review: ReviewService,
    thumbnails: ThumbnailService,
    page: Annotated[int, Query(ge=1, le=1_000_000), WholeNumber] = 1,
    page_size: Annotated[int, Query(ge=1, le=_MAX_PAGE_SIZE), WholeNumber] = 10,
) -> dict[str, Any]:
    """List the pictures that wait in the queues of all collections, the least sure first."""
    pending, total = await review.page_everywhere(caller.workspace, page=page, size=page_size)
    images = await asyncio.gather(
        *[thumbnails.read(entry.picture.image_sha256, IMAGE_SIDE) for entry in pending]
    )
    items = [_item(entry, image) for entry, image in zip(pending, images, strict=True) if image is not None]
    return {"items": items, "total": total, "page": page, "page_size": page_size}


@router.post(
    "/decide",
    responses=responses(
        CollectionNotFoundError, ReviewPictureNotFoundError, AlreadyDecidedError, *MODEL_ERRORS
    ),
    openapi_extra=describe_body(DecideBody),
)
async def decide_pending(
    request: Request,
    caller: Learner,
    settings: AppSettings,
    review: ReviewService,
    decisions: DecisionService,
) -> dict[str, Any]:
    """Say whether a picture shows what was predicted; a class, right or corrected, is taught at once."""
    body = await read_body(request, DecideBody)
    picture = parse_id(body.id, ReviewPictureNotFoundError)
    verdict = Verdict("skip" if body.decision == "skip" else "right")
    if body.decision == "wrong":
        verdict = Verdict("none")
        if body.corrected_class and body.corrected_class.strip():
            [label] = check_labels([body.corrected_class], "corrected_class", settings)
            verdict = Verdict("label", label=label_name(label, settings.limits.max_text_chars))
    collection = await review.find_collection_of(caller.workspace, picture)
    await decisions.decide(Reviewer(caller.workspace, caller.key_id), collection, [picture], verdict)
    return {"success": True}


def _item(entry: PendingPicture, image: Thumbnail) -> dict[str, Any]:
    """A picture as a whole is the detection: nothing is cut out here."""
    box = {"x1": 0, "y1": 0, "x2": image.width, "y2": image.height}
    score = entry.picture.scores[0][1]
    return {
        "id": str(entry.picture.id),
        "image": base64.b64encode(image.jpeg).decode(),
        "detection": {"box": box, "class_name": entry.picture.guess, "confidence": float(score)},
        "model": f"{COLLECTION_MODEL}{entry.collection}",
        "timestamp": entry.picture.created_at.isoformat(),
    }
