"""A registry of real models, and two adapters over one base."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import pytest_asyncio

from app.families import FAMILIES
from app.inference.registry import ModelRegistry
from app.settings import Settings
from tests.integration.inference.shared_bases.adapter_folders import (
    ATTENTION,
    save_adapter,
)
from tests.made_engines import share_engines


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest_asyncio.fixture
async def registry(tmp_path: Path, pool: ThreadPoolExecutor) -> AsyncIterator[ModelRegistry]:
    made = ModelRegistry(
        Settings(data_dir=share_engines(tmp_path / "data"), device="cpu"), FAMILIES, pool=pool
    )
    yield made
    await made.close()


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One with a projector of its own, one without."""
    folder = tmp_path_factory.mktemp("adapters")
    return [
        save_adapter(folder / "first", 1, ATTENTION, ["multi_modal_projector"]),
        save_adapter(folder / "second", 2, ["q_proj", "up_proj"]),
    ]
