"""`/collections`: named sets of labels, made, listed, bound to another encoder and dropped.

Knows pages and names; knows nothing of examples' vectors.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app import errors
from app.bootstrap import Services, services_of
from app.collections import listing
from app.collections.dependencies import MODEL_ERRORS, CollectionPath, Learner, Recogniser
from app.collections.errors import CollectionExistsError, CollectionNotFoundError, DefaultCollectionError
from app.collections.listing import CollectionRow
from app.collections.schemas import (
    CollectionChange,
    CollectionInfo,
    CollectionList,
    CollectionRequest,
    LabelInfo,
    LabelList,
)
from app.http.paging import Cursor, Limit, from_cursor, page_size, to_cursor
from app.http.problems import responses
from app.inference.errors import ModelNotFoundError
from app.jobs.describing import described
from app.jobs.schemas import JobInfo

router = APIRouter(prefix="/collections", tags=["collections"])


@router.post(
    "",
    status_code=201,
    responses=responses(CollectionExistsError, ModelNotFoundError, *MODEL_ERRORS),
)
async def create_collection(request: Request, caller: Learner, wanted: CollectionRequest) -> CollectionInfo:
    """Make a collection, bound to one encoder."""
    services = services_of(request)
    row = await services.learning.create(caller.workspace, wanted.name, wanted.encoder)
    return _info(services, row)


@router.get("")
async def list_collections(
    request: Request, caller: Recogniser, limit: Limit = None, cursor: Cursor = None
) -> CollectionList:
    """List collections by name."""
    services = services_of(request)
    size = page_size(limit, services.settings)
    after = from_cursor(cursor, 1)
    await services.recognition.ensure_default(caller.workspace)
    async with services.database.session() as session:
        rows = await listing.list_collections(
            session, caller.workspace, limit=size + 1, after=after[0] if after else ""
        )
    page = [_info(services, row) for row in rows[:size]]
    return CollectionList(data=page, next=to_cursor(page[-1].name) if len(rows) > size else None)


@router.get("/{collection}", responses=responses(CollectionNotFoundError))
async def get_collection(request: Request, caller: Recogniser, collection: CollectionPath) -> CollectionInfo:
    """Show one collection."""
    services = services_of(request)
    await services.recognition.known(caller.workspace, collection)
    async with services.database.session() as session:
        rows = await listing.list_collections(session, caller.workspace, limit=1, name=collection)
    if not rows:
        raise CollectionNotFoundError
    return _info(services, rows[0])


@router.patch(
    "/{collection}",
    status_code=202,
    responses=responses(
        CollectionNotFoundError,
        ModelNotFoundError,
        errors.ConflictError,
        *MODEL_ERRORS,
    ),
)
async def change_collection(
    request: Request,
    response: Response,
    caller: Learner,
    collection: CollectionPath,
    wanted: CollectionChange,
) -> JobInfo:
    """Bind a collection to another encoder: a job embeds every example again, then swaps; until then all goes on."""
    services = services_of(request)
    known = await services.recognition.known(caller.workspace, collection)
    encoder = await services.learning.admit_encoder(wanted.encoder)
    job = await services.jobs.reembed(caller.workspace, known, encoder)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return await described(services, job)


@router.delete(
    "/{collection}",
    status_code=204,
    responses=responses(CollectionNotFoundError, DefaultCollectionError),
)
async def delete_collection(request: Request, caller: Learner, collection: CollectionPath) -> Response:
    """Delete a collection with all its labels and examples."""
    await services_of(request).learning.drop(caller.workspace, collection)
    return Response(status_code=204)


@router.get("/{collection}/labels", responses=responses(CollectionNotFoundError))
async def list_labels(
    request: Request,
    caller: Recogniser,
    collection: CollectionPath,
    limit: Limit = None,
    cursor: Cursor = None,
) -> LabelList:
    """List a collection's labels by name."""
    services = services_of(request)
    size = page_size(limit, services.settings)
    after = from_cursor(cursor, 1)
    known = await services.recognition.known(caller.workspace, collection)
    async with services.database.session() as session:
        rows = await listing.list_labels(session, known.id, limit=size + 1, after=after[0] if after else "")
    page = [LabelInfo(label=name, description=text, examples=count) for name, text, count in rows[:size]]
    return LabelList(data=page, next=to_cursor(page[-1].label) if len(rows) > size else None)


def _info(services: Services, row: CollectionRow) -> CollectionInfo:
    one = row.collection
    return CollectionInfo(
        name=one.name,
        encoder=services.recognition.shown(one.encoder),
        version=one.version,
        labels=row.labels,
        examples=row.examples,
        answers=row.answers,
        created_at=one.created_at,
    )
