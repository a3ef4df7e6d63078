"""How a route gets what `app.bootstrap` opened: by its signature, one service at a time.

A room's `dependencies.py` names its services by `find_service`; `Services` of `app.bootstrap` says what there is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Request

from app.http.spool import Spool
from app.settings import Settings
from app.storage.database import Database

Service = TypeVar("Service")

CLOSING = "vision.closing"
"""The list of a request's scope that `LimitsMiddleware` calls when the request is over."""


def find_service(name: str, kind: type[Service]) -> Callable[[Request], Awaitable[Service]]:
    """A dependency that gives the service of that name, which is a `kind`, of the app that the request came to."""

    async def provide(request: Request) -> Service:  # no thread is needed to look it up
        return service_of(request, name, kind)

    provide.__name__ = f"provide_{name}"
    return provide


def service_of(request: Request, name: str, kind: type[Service]) -> Service:
    """The same inside a dependency: one that takes it by its signature costs every request 40 us more."""
    return cast(Service, getattr(request.app.state.services, name))


def close_with_request(request: Request, close: Callable[[], None]) -> None:
    """Call `close` when the request ends, however it does: a dependency that yields takes six times as long."""
    request.scope[CLOSING].append(close)


AppSettings = Annotated[Settings, Depends(find_service("settings", Settings))]
AppDatabase = Annotated[Database, Depends(find_service("database", Database))]
DecodePool = Annotated[ThreadPoolExecutor, Depends(find_service("pool", ThreadPoolExecutor))]
UploadSpool = Annotated[Spool, Depends(find_service("spool", Spool))]
