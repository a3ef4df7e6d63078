"""An app that answers with the upload that it read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI, Request

from app.http import problems
from app.http.forms import read_upload
from app.http.limits import LimitsMiddleware
from app.http.spool import Spool
from app.observability.metrics import Metrics
from app.observability.middleware import ObservabilityMiddleware
from app.settings import Settings


class Room:
    """An app that answers with what it read."""

    def __init__(self, data_dir: Path) -> None:
        self.settings = Settings(data_dir=data_dir, max_body_mb=8, max_part_mb=4, max_images=5, max_parts=9)
        self.spool = Spool(data_dir / "tmp", 64 << 20)
        self.folder = data_dir / "tmp"
        app = FastAPI()
        problems.install(app)
        app.add_middleware(LimitsMiddleware, settings=self.settings)
        app.add_middleware(ObservabilityMiddleware, metrics=Metrics())

        @app.post("/")
        async def read(request: Request) -> dict[str, Any]:
            with await read_upload(request, self.settings, self.spool) as upload:
                return {"images": [image.read().hex() for image in upload.images], "fields": upload.fields}

        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://127.0.0.1"
        )
