"""An app with nothing but the platform's layers, over real sockets, and what rude clients send it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request

from app.http import problems
from app.http.disconnect import unless_disconnected
from app.http.forms import read_upload
from app.http.limits import LimitsMiddleware
from app.http.spool import Spool
from app.observability.metrics import Metrics
from app.observability.middleware import ObservabilityMiddleware
from app.settings import Settings
from tests.wire import Wire

MIB = 1024 * 1024


class Served:
    """An app with nothing but the platform's layers, and what happened in it."""

    def __init__(self, data_dir: Path, receive_timeout_s: float) -> None:
        self.settings = Settings(
            data_dir=data_dir,
            max_body_mb=2,
            max_part_mb=1,
            max_parts=8,
            max_images=4,
            max_field_kb=4,
            max_json_values=1000,
            max_header_kb=4,
            max_query_kb=2,
            max_spool_mb=3,
            max_uploads=3,
            receive_timeout_s=receive_timeout_s,
        )
        self.spool = Spool(data_dir / "tmp", self.settings.limits.max_spool_mb * MIB)
        self.metrics = Metrics()
        self.working = 0
        self.cancelled = 0
        self.app = self._app()
        self.wire: Wire

    def _app(self) -> FastAPI:
        app = FastAPI()
        problems.install(app)
        app.add_middleware(LimitsMiddleware, settings=self.settings)
        app.add_middleware(ObservabilityMiddleware, metrics=self.metrics)

        @app.post("/upload")
        async def upload(request: Request) -> dict[str, Any]:
            with await read_upload(request, self.settings, self.spool) as got:
                return {"images": [len(image.read()) for image in got.images], "fields": got.fields}

        @app.post("/json")
        async def take_json(body: Annotated[dict[str, Any], Body()]) -> dict[str, int]:
            return {"members": len(body)}

        @app.post("/ignore")
        async def ignore() -> dict[str, bool]:
            return {"ok": True}

        @app.post("/work")
        async def work(request: Request) -> dict[str, bool]:
            await request.body()
            await unless_disconnected(request, self._work())
            return {"ok": True}

        @app.get("/work")
        async def work_without_body(request: Request) -> dict[str, bool]:
            await unless_disconnected(request, self._work())
            return {"ok": True}

        return app

    async def _work(self) -> None:
        self.working += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.working -= 1

    def status_counts(self) -> dict[str, float]:
        """Answers so far, by status."""
        counts: dict[str, float] = {}
        for metric in self.metrics.requests.collect():
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    status = sample.labels["status"]
                    counts[status] = counts.get(status, 0) + sample.value
        return counts


def check_problem(reply: Any, status: int, code: str) -> None:
    got = reply.json()
    assert (reply.status if hasattr(reply, "status") else reply.status_code) == status, got
    assert got["error"]["code"] == code
    assert reply.headers["content-type"] == "application/problem+json"


def part(name: str, data: bytes, filename: str | None = "x.jpg", boundary: str = "b") -> bytes:
    extra = f'; filename="{filename}"' if filename else ""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return head.encode() + data + b"\r\n"


FORM = "Content-Type: multipart/form-data; boundary=b"

END = b"--b--\r\n"
