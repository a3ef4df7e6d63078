"""A running service for the modules of fault tests."""

from __future__ import annotations

import pytest

from tests.conftest import ServiceStarter
from tests.live import Live


@pytest.fixture(scope="module")
def service(start_service: ServiceStarter) -> Live:
    """A ready service whose default collection is empty, with a queue small enough to fill."""
    live = start_service({"VISION_MAX_QUEUE": "64"})
    live.forget_everything()
    return live
