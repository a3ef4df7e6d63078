"""A registry of `MeanColour` encoders, in this process and as a front end has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.inference.engine.interface import Engine
from app.inference.registry import ModelRegistry
from app.settings import Settings
from tests.engines import count_taken_bytes, serve_registry, until
from tests.integration.inference.registry.mean_colour import Loader, Loading


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
async def registry(tmp_path: Path, pool: ThreadPoolExecutor, loader: Loader) -> AsyncIterator[ModelRegistry]:
    settings = Settings(data_dir=tmp_path, device="cpu", model_memory_mb=25, max_queue=64)
    made = ModelRegistry(settings, Loading(loader), pool=pool)
    yield made
    for encoder in loader.made.values():
        encoder.gate.set()
    await made.close()


@pytest.fixture(params=["in process", "over a socket"])
async def engine(
    request: pytest.FixtureRequest, registry: ModelRegistry, pool: ThreadPoolExecutor
) -> AsyncIterator[Engine]:
    """The registry itself, and as a front end has it."""
    if request.param == "in process":
        yield registry
        return
    async with serve_registry(registry, registry._settings, pool) as (server, client):
        yield client
        await until(lambda: all(session.held == (0, 0) for session in server.sessions))
        assert count_taken_bytes(client) == 0
