"""The app with the platform's layers, served to the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.http.limits.served import Served
from tests.wire import serve


@contextmanager
def serve_limits(data_dir: Path, patience_s: float) -> Iterator[Served]:
    """The app, which waits so long for heads and for what comes next of bodies."""
    made = Served(data_dir, patience_s)
    with serve(made.app, head_s=patience_s) as wire:
        made.wire = wire
        yield made
    assert made.spool.held == 0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Patient, so that who is slow because the machine is busy is not cut off."""
    with serve_limits(tmp_path_factory.mktemp("served"), 30) as made:
        yield made


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Served]:
    """Out of patience after 0.6 s."""
    with serve_limits(tmp_path, 0.6) as made:
        yield made
