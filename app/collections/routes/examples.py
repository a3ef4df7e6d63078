"""`/collections/{c}/examples`: teach, list, look at and forget examples."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field

from app.access import Learner, Recogniser
from app.access.errors import WorkspaceFullError
from app.collections import listing
from app.collections.dependencies import (
    UPLOAD_ERRORS,
    CollectionPath,
    LearningService,
    RecognitionService,
    ThumbnailService,
)
from app.collections.errors import CollectionNotFoundError, ExampleExistsError, ExampleNotFoundError
from app.collections.listing import ExampleRow
from app.collections.routes.relabelling_schemas import ChangedExamples, ExampleChange, ExamplesChange
from app.collections.schemas import AddedExample, AddedExamples, ExampleInfo, ExampleList, image_url
from app.collections.service import Recognition
from app.collections.thumbnails import Size
from app.errors import InvalidInputError
from app.http.dependencies import AppDatabase, AppSettings
from app.http.fields import DescriptionText, Flag, Form, LabelText
from app.http.names import label_name, parse_id
from app.http.paging import PageQuery
from app.http.problems import responses
from app.http.upload_forms import ReceivedForm, UploadForm
from app.storage.database import Database

router = APIRouter(prefix="/collections/{collection}/examples", tags=["collections"])


class ExampleForm(Form):
    """One label, and the images that show it."""

    label: LabelText = Field(description="What the images show.")
    description: DescriptionText = Field(
        "",
        description="The label in other words; helps while examples are few.",
    )
    replace: Flag = Field(
        False, description="Whether the images lose the other labels that they have in this collection."
    )


UPLOAD = UploadForm(ExampleForm, images="several", name="images")
ExamplePath = Annotated[str, Path(alias="id", description="Id of an example.")]


@router.post(
    "",
    status_code=201,
    responses=responses(CollectionNotFoundError, *UPLOAD_ERRORS, WorkspaceFullError),
    openapi_extra=UPLOAD.openapi(),
)
async def add_examples(
    caller: Learner,
    collection: CollectionPath,
    upload: Annotated[ReceivedForm[ExampleForm], Depends(UPLOAD)],
    learning: LearningService,
) -> AddedExamples:
    """Teach one label with one image or several: all of them or, where one is refused, none.

    An image that has another label here keeps it, and the reply names it; `replace` takes it away.
    """
    fields, label = upload.fields, upload.fields.label
    added = await learning.add(
        caller.workspace, collection, label, fields.description, upload.images, replace=fields.replace
    )
    return AddedExamples(
        data=[
            AddedExample(
                id=example.id,
                label=label,
                collection=collection,
                image_sha256=example.image_sha256,
                image=image_url(collection, example.id),
                created=example.created,
                other_labels=list(example.other_labels),
                replaced_labels=list(example.replaced_labels),
            )
            for example in added
        ]
    )


@router.post("/bulk", responses=responses(CollectionNotFoundError, ExampleNotFoundError, ExampleExistsError))
async def change_examples(
    caller: Learner,
    collection: CollectionPath,
    wanted: ExamplesChange,
    settings: AppSettings,
    learning: LearningService,
) -> ChangedExamples:
    """Give several examples another label, or forget them: all of them or, where one cannot be changed, none."""
    if len(wanted.ids) > settings.limits.max_page:
        raise InvalidInputError(f"ids: at most {settings.limits.max_page} in one request.")
    ids = list(dict.fromkeys(wanted.ids))
    label = None
    if wanted.label is None:
        found, version = await learning.remove_all(caller.workspace, collection, ids)
    else:
        label = label_name(wanted.label, settings.limits.max_text_chars)
        found, version = await learning.relabel(caller.workspace, collection, ids, label, merge=wanted.merge)
    return ChangedExamples(
        label=label,
        changed=list(found.changed),
        unchanged=list(found.unchanged),
        removed=list(found.removed),
        collection_version=version,
    )


@router.get("", responses=responses(CollectionNotFoundError))
async def list_examples(
    caller: Recogniser,
    collection: CollectionPath,
    settings: AppSettings,
    database: AppDatabase,
    recognition: RecognitionService,
    asked: PageQuery,
    label: Annotated[str | None, Query(description="Only this label.")] = None,
    image_sha256: Annotated[
        str | None,
        Query(
            pattern="^[0-9a-f]{64}$",
            description="Only examples of this stored image, as evaluations name it.",
        ),
    ] = None,
) -> ExampleList:
    """List examples by label."""
    after = asked.after(str, uuid.UUID)
    wanted = None if label is None else label_name(label, settings.limits.max_text_chars)
    await recognition.resolve_collection(caller.workspace, collection)
    async with database.session() as session:
        rows = await listing.list_examples(
            session,
            caller.workspace,
            collection,
            limit=asked.limit,
            label=wanted,
            image_sha256=image_sha256,
            after=after,
        )
    page, following = asked.cut(rows, lambda row: (row.label, row.id))
    return ExampleList(data=[_info(row, collection) for row in page], next=following)


@router.get("/{id}", responses=responses(CollectionNotFoundError, ExampleNotFoundError))
async def get_example(
    caller: Recogniser,
    collection: CollectionPath,
    example: ExamplePath,
    database: AppDatabase,
    recognition: RecognitionService,
) -> ExampleInfo:
    """Show one example."""
    return _info(await _find(database, recognition, caller.workspace, collection, example), collection)


@router.patch("/{id}", responses=responses(CollectionNotFoundError, ExampleNotFoundError, ExampleExistsError))
async def change_example(
    caller: Learner,
    collection: CollectionPath,
    example: ExamplePath,
    wanted: ExampleChange,
    settings: AppSettings,
    database: AppDatabase,
    recognition: RecognitionService,
    learning: LearningService,
) -> ExampleInfo:
    """Give an example another label, one of the collection's or a new one; a label goes with its last example."""
    wanted_id = parse_id(example, ExampleNotFoundError)
    label = label_name(wanted.label, settings.limits.max_text_chars)
    await learning.relabel(caller.workspace, collection, [wanted_id], label)
    return _info(await _find(database, recognition, caller.workspace, collection, example), collection)


@router.delete(
    "/{id}",
    status_code=204,
    responses=responses(CollectionNotFoundError, ExampleNotFoundError),
)
async def delete_example(
    caller: Learner, collection: CollectionPath, example: ExamplePath, learning: LearningService
) -> Response:
    """Forget one example; its label goes with the last of them."""
    await learning.remove(caller.workspace, collection, parse_id(example, ExampleNotFoundError))
    return Response(status_code=204)


@router.get(
    "/{id}/image",
    response_class=Response,
    responses={
        200: {"description": "A JPEG.", "content": {"image/jpeg": {}}},
        304: {"description": "The client has it already."},
        **responses(CollectionNotFoundError, ExampleNotFoundError),
    },
)
async def get_example_image(
    request: Request,
    caller: Recogniser,
    collection: CollectionPath,
    example: ExamplePath,
    database: AppDatabase,
    recognition: RecognitionService,
    thumbnails: ThumbnailService,
    size: Size = 256,
) -> Response:
    """Show what an example looks like, scaled down."""
    row = await _find(database, recognition, caller.workspace, collection, example)
    return await thumbnails.respond(
        request, row.image_sha256, size, ExampleNotFoundError("The image of this example is gone.")
    )


async def _find(
    database: Database, recognition: Recognition, workspace: str, collection: str, example: str
) -> ExampleRow:
    wanted = parse_id(example, ExampleNotFoundError)
    await recognition.resolve_collection(workspace, collection)
    async with database.session() as session:
        row = await listing.find_example(session, workspace, collection, wanted)
    if row is None:
        raise ExampleNotFoundError
    return row


def _info(row: ExampleRow, collection: str) -> ExampleInfo:
    return ExampleInfo(
        id=row.id,
        label=row.label,
        collection=collection,
        image_sha256=row.image_sha256,
        image=image_url(collection, row.id),
        created_at=row.created_at,
    )
