"""`/keys`: making, listing and ending keys, for administrators; `/access`, `/storage`: what a caller may do and store.

An administrator of `default` manages the keys of every workspace, any other only those of their own.
"""

from __future__ import annotations

import uuid
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query, Response

from app import errors
from app.access import policy
from app.access.dependencies import Caller, KeyService, KnownCaller, Recogniser, require
from app.access.errors import KeyNotFoundError
from app.access.quota import Quota
from app.access.schemas import Access, Key, KeyList, KeyRequest, NewKey, Storage
from app.http import problems
from app.http.dependencies import AppSettings
from app.http.fields import WholeNumber
from app.http.names import parse_id
from app.storage.database import DEFAULT_WORKSPACE

log = structlog.get_logger("app.access")

router = APIRouter(tags=["keys"])

Admin = Annotated[Caller, Depends(require("admin"))]


@router.post("/keys", status_code=201)
async def create_key(caller: Admin, wanted: KeyRequest, keys: KeyService) -> NewKey:
    """Create a key. The answer is the only place where its text is ever shown."""
    workspace = wanted.workspace or caller.workspace
    if _reach(caller) not in (None, workspace):
        raise errors.ForbiddenError(
            "Only administrators of the workspace 'default' make keys for other workspaces."
        )
    row, text = await keys.create(
        name=wanted.name, workspace=workspace, scopes=wanted.scopes, expires_at=wanted.end()
    )
    log.info("key made", key_id=str(row.id), workspace=workspace, scopes=row.scopes)
    return NewKey(**Key.model_validate(row).model_dump(), key=text)


@router.get("/keys")
async def list_keys(
    caller: Admin,
    keys: KeyService,
    limit: Annotated[int, Query(ge=1, le=1000), WholeNumber] = 100,
    cursor: Annotated[uuid.UUID | None, Query(description="`next` of the page before.")] = None,
) -> KeyList:
    """List the keys that still work or have expired, oldest first; revoked ones are gone."""
    rows = await keys.page(workspace=_reach(caller), limit=limit + 1, after=cursor)
    page = [Key.model_validate(row) for row in rows[:limit]]
    return KeyList(data=page, next=str(page[-1].id) if len(rows) > limit else None)


@router.delete("/keys/{key_id}", status_code=204, responses=problems.responses(KeyNotFoundError))
async def revoke_key(caller: Admin, key_id: str, keys: KeyService) -> Response:
    """End a key; every process refuses it within a second."""
    wanted = parse_id(key_id, KeyNotFoundError)
    if not await keys.revoke(wanted, workspace=_reach(caller)):
        raise KeyNotFoundError()
    log.info("key revoked", key_id=str(wanted))
    return Response(status_code=204)


@router.get("/access")
async def get_access(caller: KnownCaller, settings: AppSettings) -> Access:
    """Show who is calling and what they may do, whatever their key allows."""
    return Access(
        workspace=caller.workspace,
        scopes=sorted(caller.scopes),
        key_id=caller.key_id,
        key_needed=policy.needs_key(settings),
    )


@router.get("/storage")
async def get_storage(caller: Recogniser, quota: Quota) -> Storage:
    """Show how many bytes the workspace stores, and how many it may. A count may be ten seconds old."""
    stored = await quota.measure(caller.workspace)
    return Storage(workspace=caller.workspace, used_bytes=stored.used, max_bytes=stored.limit)


def _reach(caller: Caller) -> str | None:
    """The only workspace whose keys `caller` manages; None for all."""
    return None if caller.workspace == DEFAULT_WORKSPACE else caller.workspace
