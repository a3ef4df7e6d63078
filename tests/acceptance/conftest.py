"""One running service and one folder of photos for each module of acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import shapes
from tests.live import Live, serving
from tests.photos import save_photo


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A ready service on an empty data folder."""
    with serving(tmp_path_factory.mktemp("service") / "data") as live:
        yield live


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """chelsea.jpg, coffee.jpg, rocket.jpg, camera.jpg, brick.jpg, coins.jpg, and easy-VQA's shape.png."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ["chelsea", "coffee", "rocket", "camera", "brick", "coins"]:
        save_photo(folder, name)
    (folder / "shape.png").write_bytes(shapes.data(0))
    return folder
