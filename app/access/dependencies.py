"""The one place where a request is let in: `require(scope)` as a dependency of a router or route."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app import errors
from app.access import policy
from app.access.scopes import SCOPES, Scope, allows
from app.access.service import KeyRing
from app.http.dependencies import AppSettings, opened
from app.settings import Settings
from app.storage.database import DEFAULT_WORKSPACE

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="API key",
    description="A key made with `vision keys create`; a service on a loopback address needs none.",
)


KeyService = Annotated[KeyRing, Depends(opened("keys", KeyRing))]


@dataclass(frozen=True)
class Caller:
    """Who is calling: every query of the request is held to `workspace`."""

    workspace: str
    key_id: uuid.UUID | None
    scopes: frozenset[str]


def require(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """A dependency that gives the `Caller`, or raises `UnauthorizedError`, `ForbiddenError` or
    `ForeignOriginError`.

    A key that is presented is always checked, also where none is needed. Listed before a dependency that
    reads the body, it answers before the body is read.
    """

    async def admitted(
        request: Request,
        keys: KeyService,
        settings: AppSettings,
        credentials: HTTPAuthorizationCredentials | None = Security(_bearer),
    ) -> Caller:
        caller = await _identify(request, keys, settings, credentials.credentials if credentials else None)
        if not allows(caller.scopes, scope):
            raise errors.ForbiddenError(f"This key does not have the scope '{scope}'.")
        request.scope["vision.workspace"] = caller.workspace
        return caller

    return admitted


Recogniser = Annotated[Caller, Depends(require("recognise"))]
Learner = Annotated[Caller, Depends(require("learn"))]
Trainer = Annotated[Caller, Depends(require("train"))]


async def _identify(request: Request, keys: KeyRing, settings: Settings, key: str | None) -> Caller:
    if key is not None:
        holder = await keys.find(key)
        if holder is None:
            raise errors.UnauthorizedError("This API key is not valid.")
        return Caller(holder.workspace, holder.key_id, holder.scopes)
    if request.headers.get("authorization") is not None or policy.needs_key(settings):
        raise errors.UnauthorizedError()
    await local_only(request, settings)
    return Caller(DEFAULT_WORKSPACE, None, frozenset(SCOPES))


_may_read_metrics = require("metrics")


async def metrics_reader(
    request: Request,
    keys: KeyService,
    settings: AppSettings,
    credentials: HTTPAuthorizationCredentials | None = Security(_bearer),
) -> None:
    """A dependency for the numbers of the whole process, which are of all workspaces: where callers need a key, one of
    the workspace `default` with the scope `metrics`, unless the settings show them to everybody. Raises what `require`
    and `local_only` raise.
    """
    if policy.needs_key(settings) and not settings.access.open_metrics:
        caller = await _may_read_metrics(request, keys, settings, credentials)
        if caller.workspace != DEFAULT_WORKSPACE:
            raise errors.ForbiddenError("Only keys of the workspace 'default' read the service's numbers.")
    else:
        await local_only(request, settings)


async def local_only(request: Request, settings: AppSettings) -> None:
    """A dependency for what needs no key: raises `ForeignOriginError` for other sites' pages in somebody's
    browser.
    """
    if not policy.needs_key(settings):
        policy.check_local(settings, request.headers.get("host"), request.headers.get("origin"))
