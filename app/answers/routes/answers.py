"""`/collections/{c}/answers`: teach, list, look at and forget answer examples."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import Field

from app.access import Learner, Recogniser
from app.access.errors import WorkspaceFullError
from app.answers.dependencies import TeachingService
from app.answers.errors import AnswerExampleNotFoundError
from app.answers.forms import QuestionText
from app.answers.schemas import AddedAnswerExample, AnswerExampleInfo, AnswerExampleList, answer_image_url
from app.answers.tables import AnswerExample
from app.collections.dependencies import (
    UPLOAD_ERRORS,
    CollectionPath,
    ThumbnailService,
)
from app.collections.errors import CollectionNotFoundError
from app.collections.thumbnails import Size
from app.http.fields import Form
from app.http.names import parse_id
from app.http.paging import PageQuery
from app.http.problems import responses
from app.http.upload_forms import ReceivedForm, UploadForm
from app.inference.errors import ModelUnavailableError, QuestionTooLongError

router = APIRouter(prefix="/collections/{collection}/answers", tags=["answering"])


class AnswerForm(Form):
    """A question about the image, with its answer."""

    question: QuestionText
    answer: QuestionText = Field(description="What the model should have answered.")


UPLOAD = UploadForm(AnswerForm, images="one")
_NOT_FOUND = responses(CollectionNotFoundError, AnswerExampleNotFoundError)
AnswerPath = Annotated[str, Path(alias="id", description="Id of an answer example.")]


@router.post(
    "",
    status_code=201,
    responses=responses(
        CollectionNotFoundError,
        *UPLOAD_ERRORS,
        WorkspaceFullError,
        QuestionTooLongError,
        ModelUnavailableError,
    ),
    openapi_extra=UPLOAD.openapi(),
)
async def add_answer(
    caller: Learner,
    collection: CollectionPath,
    upload: Annotated[ReceivedForm[AnswerForm], Depends(UPLOAD)],
    teaching: TeachingService,
) -> AddedAnswerExample:
    """Teach an answer to a question about an image; asking again replaces the answer."""
    form = upload.fields
    row, created = await teaching.add(
        caller.workspace, collection, upload.images[0], form.question, form.answer
    )
    return AddedAnswerExample(**_info(row, collection).model_dump(), created=created)


@router.get("", responses=responses(CollectionNotFoundError))
async def list_answers(
    caller: Recogniser, collection: CollectionPath, asked: PageQuery, teaching: TeachingService
) -> AnswerExampleList:
    """List answer examples."""
    (after,) = asked.after(uuid.UUID) or (None,)
    rows = await teaching.list(caller.workspace, collection, limit=asked.limit, after=after)
    page, following = asked.cut(rows, lambda row: (row.id,))
    return AnswerExampleList(data=[_info(row, collection) for row in page], next=following)


@router.get("/{id}", responses=_NOT_FOUND)
async def get_answer(
    caller: Recogniser, collection: CollectionPath, example: AnswerPath, teaching: TeachingService
) -> AnswerExampleInfo:
    """Show one answer example."""
    return _info(await teaching.find(caller.workspace, collection, _id(example)), collection)


@router.delete("/{id}", status_code=204, responses=_NOT_FOUND)
async def delete_answer(
    caller: Learner, collection: CollectionPath, example: AnswerPath, teaching: TeachingService
) -> Response:
    """Forget one answer example."""
    await teaching.remove(caller.workspace, collection, _id(example))
    return Response(status_code=204)


@router.get(
    "/{id}/image",
    response_class=Response,
    responses={200: {"description": "A JPEG.", "content": {"image/jpeg": {}}}, **_NOT_FOUND},
)
async def get_answer_image(
    request: Request,
    caller: Recogniser,
    collection: CollectionPath,
    example: AnswerPath,
    thumbnails: ThumbnailService,
    teaching: TeachingService,
    size: Size = 256,
) -> Response:
    """Show what an answer example is about, scaled down."""
    row = await teaching.find(caller.workspace, collection, _id(example))
    return await thumbnails.respond(
        request, row.image_sha256, size, AnswerExampleNotFoundError("The image of this example is gone.")
    )


def _id(text: str) -> uuid.UUID:
    return parse_id(text, AnswerExampleNotFoundError)


def _info(row: AnswerExample, collection: str) -> AnswerExampleInfo:
    return AnswerExampleInfo(
        id=row.id,
        question=row.question,
        answer=row.answer,
        collection=collection,
        image_sha256=row.image_sha256,
        image=answer_image_url(collection, row.id),
        created_at=row.created_at,
    )
