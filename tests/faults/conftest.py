"""One running service for each module of fault tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live import Live, serving


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A ready service on an empty data folder, with a queue small enough to fill."""
    with serving(tmp_path_factory.mktemp("service") / "data", VISION_MAX_QUEUE="64") as live:
        yield live
