"""A running service and a folder of photos for the modules of acceptance tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import shapes
from tests.conftest import ServiceStarter
from tests.live import Live
from tests.photos import save_photo


@pytest.fixture(scope="module")
def service(start_service: ServiceStarter) -> Live:
    """A ready service whose default collection is empty."""
    live = start_service({})
    live.forget_everything()
    return live


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """chelsea.jpg, coffee.jpg, rocket.jpg, camera.jpg, brick.jpg, coins.jpg, and easy-VQA's shape.png."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ["chelsea", "coffee", "rocket", "camera", "brick", "coins"]:
        save_photo(folder, name)
    (folder / "shape.png").write_bytes(shapes.data(0))
    return folder
