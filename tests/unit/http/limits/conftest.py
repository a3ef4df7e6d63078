"""The app with the platform's layers, served to the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.http.limits.served import Served
from tests.wire import serve


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("served"))
    with serve(made.app, head_s=0.6) as wire:
        made.wire = wire
        yield made
    assert made.spool.held == 0
