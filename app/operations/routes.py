"""The addresses outside `/v1`: what is here, is it alive, is it ready, its numbers and its documentation
page.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import text

from app import errors
from app.access.dependencies import local_only, metrics_reader
from app.access.errors import ForeignOriginError
from app.http import problems
from app.http.dependencies import AppDatabase, AppSettings
from app.observability.metrics import MEDIA_TYPE, ModelGauge
from app.operations.dependencies import AppEngine, AppMetrics, AppModel, RedisClient
from app.settings import Settings
from app.storage import disk
from app.storage.blobs import local_folder

SERVICE = "llamafarm-vision"
VERSION = version(SERVICE)
_CHECK_SECONDS = 2.0

_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon.png": "image/png",
}
# Swagger UI sets styles on elements and shows its icons as data: URIs; scripts come from here and nowhere
# else.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>llamafarm-vision</title>
<link rel="icon" type="image/png" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_DOCS_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  persistAuthorization: false,
  validatorUrl: null,
});
"""

log = structlog.get_logger("app")

_METRICS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The numbers of this service.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}

_disk_look: asyncio.Future[str] | None = None
"""The last look at the disks: one that hangs holds a single thread, however many requests ask for it."""

router = APIRouter(dependencies=[Depends(local_only)], responses=problems.responses(ForeignOriginError))


class About(BaseModel):
    """What answers here."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "service": SERVICE,
                    "version": VERSION,
                    "docs": "/docs",
                    "openapi": "/openapi.json",
                    "health": "/healthz",
                    "ready": "/readyz",
                    "metrics": "/metrics",
                }
            ]
        }
    )

    service: str = SERVICE
    version: str = VERSION
    docs: str = "/docs"
    openapi: str = "/openapi.json"
    health: str = "/healthz"
    ready: str = "/readyz"
    metrics: str = "/metrics"


class Health(BaseModel):
    """The process is alive."""

    status: str = "ok"
    service: str = SERVICE
    version: str = VERSION


class ClientHealth(BaseModel):
    """The process is alive, and what it has in memory."""

    status: str = "healthy"
    device: str = Field(description="`VISION_DEVICE`.")
    loaded_models: list[str]
    timestamp: datetime
    pid: int


class Readiness(BaseModel):
    """Every part that a request needs, and how it is."""

    status: str = "ready"
    checks: dict[str, str]


@router.get("/", tags=["platform"])
async def about() -> About:
    """What answers here; a browser gets the page instead."""
    return About()


@router.get("/healthz", tags=["platform"])
async def healthz() -> Health:
    """Whether the process is alive; looks at nothing else."""
    return Health()


@router.get("/health", tags=["platform"])
async def health(settings: AppSettings, engine: AppEngine) -> ClientHealth:
    """Whether the process is alive, in the words of LlamaFarm's runtimes; other clients look at the status only."""
    loaded = [info.name for info in engine.live()]
    return ClientHealth(
        device=settings.models.device, loaded_models=loaded, timestamp=datetime.now(UTC), pid=os.getpid()
    )


@router.get("/readyz", tags=["platform"], responses=problems.responses(errors.NotReadyError))
async def readyz(
    settings: AppSettings, database: AppDatabase, redis: RedisClient, default_model: AppModel
) -> Readiness:
    """Whether the database and Redis answer, the default model is loaded and the disk has room; 503 names what is
    missing.
    """

    async def ask_database() -> None:
        async with database.session() as session:
            await session.execute(text("SELECT 1"))

    ask = (_check("database", ask_database()), _check("redis", redis.ping()), _disk(settings))
    database_state, redis_state, disk_state = await asyncio.gather(*ask)
    found = {
        "database": database_state,
        "redis": redis_state,
        "model": default_model.state(),
        "disk": disk_state,
    }
    missing = [f"{part}: {state}" for part, state in found.items() if state != "ok"]
    if missing:
        raise errors.NotReadyError(f"Not ready: {'; '.join(missing)}.", checks=found)
    return Readiness(checks=found)


async def _check(part: str, work: Awaitable[Any]) -> str:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await work
    except Exception as exc:  # whatever it is, the part does not answer
        log.debug("not ready", part=part, reason=str(exc)[:300])
        return "does not answer"
    return "ok"


async def _disk(settings: Settings) -> str:
    """`_look_at_disks`, or that they do not answer, such as a network disk that went away; one look at a time."""
    global _disk_look
    loop = asyncio.get_running_loop()
    if _disk_look is None or _disk_look.done() or _disk_look.get_loop() is not loop:
        _disk_look = loop.run_in_executor(None, _look_at_disks, settings)
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await asyncio.shield(_disk_look)
    except TimeoutError:
        return "does not answer"


def _look_at_disks(settings: Settings) -> str:
    """Whether what requests teach and upload can be written."""
    for folder in (settings.server.data_dir.expanduser(), local_folder(settings)):
        if folder is not None and (found := disk.shortage(folder, settings.server.min_free_mb)) is not None:
            return found
    return "ok"


@router.get(
    "/metrics",
    tags=["platform"],
    response_class=Response,
    dependencies=[Depends(metrics_reader)],
    responses={
        **_METRICS,
        **problems.responses(errors.UnauthorizedError, errors.ForbiddenError, ForeignOriginError),
    },
)
async def metrics(metrics: AppMetrics, engine: AppEngine) -> Response:
    """Prometheus' text format; names routes and models, never callers or what they sent. Beyond loopback it takes a key
    with the scope `metrics`.
    """
    live: dict[str, ModelGauge] = {}
    with suppress(errors.VisionError):  # what was counted is there without the engines
        for info in await engine.stats():
            depth = info.batches.queue_depth if info.batches else 0
            before = live.get(info.name, ModelGauge(info.name, 0, 0))
            memory = before.memory_bytes + (info.memory_bytes or 0)
            live[info.name] = ModelGauge(info.name, before.queue_depth + depth, memory)
    return Response(await asyncio.to_thread(metrics.exposition, live.values()), media_type=MEDIA_TYPE)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """The description of everything under `/v1`."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """The documentation page; everything it loads comes from this service."""
    return HTMLResponse(_DOCS_PAGE, headers={"Content-Security-Policy": _DOCS_POLICY})


@router.get("/docs/{asset}", include_in_schema=False)
async def docs_asset(asset: str) -> Response:
    """One of the page's files, out of the wheel that carries them."""
    headers = {"Cache-Control": "public, max-age=3600"}
    if asset == "start.js":
        return Response(_DOCS_START, media_type="text/javascript", headers=headers)
    if asset not in _ASSETS:
        raise errors.NotFoundError()
    path = str(files("fastapi_offline").joinpath("static", asset))
    return FileResponse(path, media_type=_ASSETS[asset], headers=headers)
