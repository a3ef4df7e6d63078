"""A short storm of random faults; `make storm` lets sixty strike."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.storm import storm

SEED = int(os.environ.get("STORM_SEED", "1"))


@pytest.mark.slow
def test_nothing_is_lost_doubled_or_stuck(tmp_path: Path) -> None:
    account = storm(tmp_path / "storm", seed=SEED, faults=6)
    assert not account.wrong, account
    assert sum(account.faults.values()) == 6
    assert account.examples
    assert account.jobs
