"""A service of one's own settings in the test's process, for tests that the shared `app` does not fit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from app.embedded import Addresses
from app.main import create_app
from app.settings import Settings


@asynccontextmanager
async def open_service(
    addresses: Addresses, data_dir: Path, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service with these settings, once its default model is loaded; on this machine, without a key."""
    made = create_app(
        Settings(data_dir=data_dir, log_level="error", log_format="text", **settings), addresses
    )
    transport = httpx.ASGITransport(made, raise_app_exceptions=False)
    async with (
        made.router.lifespan_context(made),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=120) as client,
    ):
        await made.state.services.default_model.loading
        yield client
