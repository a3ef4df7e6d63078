"""The one place where a request is let in: `require(scope)` as a dependency of a router or route."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.base import SecurityBase

from app import errors
from app.access import policy
from app.access.keys import is_well_formed
from app.access.scopes import SCOPES, Scope, allows
from app.access.service import KeyRing
from app.http.dependencies import AppSettings, find_service, service_of
from app.settings import Settings
from app.storage.database import DEFAULT_WORKSPACE

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="API key",
    description="A key made with `vision keys create`; a service on a loopback address needs none.",
)


KeyService = Annotated[KeyRing, Depends(find_service("keys", KeyRing))]


@dataclass(frozen=True)
class Caller:
    """Who is calling: every query of the request is held to `workspace`."""

    workspace: str
    key_id: uuid.UUID | None
    scopes: frozenset[str]


class _Admission(SecurityBase):
    """See `require`. Being the security scheme itself, it is one dependency of a route instead of four."""

    def __init__(self, scope: Scope | None) -> None:
        self.model = _bearer.model
        self.scheme_name = _bearer.scheme_name
        self._scope = scope

    async def __call__(self, request: Request) -> Caller:
        credentials = await _bearer(request)
        caller = await _identify(request, credentials.credentials if credentials else None)
        if self._scope is not None and not allows(caller.scopes, self._scope):
            raise errors.ForbiddenError(f"This key does not have the scope '{self._scope}'.")
        request.scope["vision.workspace"] = caller.workspace
        return caller


def require(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that gives the `Caller`, or raises `UnauthorizedError`, `ForbiddenError` or
    `ForeignOriginError`.

    A key of this service is always checked, also where none is needed; any other credentials are ignored there. Listed
    before a dependency that reads the body, it answers before the body is read.
    """
    return _Admission(scope)


KnownCaller = Annotated[Caller, Depends(_Admission(None))]
"""Whoever may call at all, whatever for."""
Recogniser = Annotated[Caller, Depends(require("recognise"))]
Learner = Annotated[Caller, Depends(require("learn"))]
Trainer = Annotated[Caller, Depends(require("train"))]


async def _identify(request: Request, key: str | None) -> Caller:
    settings = service_of(request, "settings", Settings)
    if not policy.needs_key(settings) and not is_well_formed(key or ""):
        # Clients of other services must send some key, or send the user's token for another service by themselves:
        # it means nothing here, and is neither compared nor logged.
        await local_only(request, settings)
        return Caller(DEFAULT_WORKSPACE, None, frozenset(SCOPES))
    if key is not None:
        holder = await service_of(request, "keys", KeyRing).find(key)
        if holder is None:
            raise errors.UnauthorizedError("This API key is not valid.")
        return Caller(holder.workspace, holder.key_id, holder.scopes)
    raise errors.UnauthorizedError()


_may_read_metrics = require("metrics")


async def metrics_reader(
    request: Request, settings: AppSettings, _: HTTPAuthorizationCredentials | None = Security(_bearer)
) -> None:
    """A dependency for the numbers of the whole process, which are of all workspaces: where callers need a key, one of
    the workspace `default` with the scope `metrics`, unless the settings show them to everybody. Raises what `require`
    and `local_only` raise.
    """
    if policy.needs_key(settings) and not settings.access.open_metrics:
        caller = await _may_read_metrics(request)
        if caller.workspace != DEFAULT_WORKSPACE:
            raise errors.ForbiddenError("Only keys of the workspace 'default' read the service's metrics.")
    else:
        await local_only(request, settings)


async def local_only(request: Request, settings: AppSettings) -> None:
    """A dependency for what needs no key: raises `ForeignOriginError` for other sites' pages in somebody's
    browser.
    """
    if not policy.needs_key(settings):
        policy.check_local(settings, request.headers.get("host"), request.headers.get("origin"))
