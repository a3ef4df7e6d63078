"""Counts that several processes keep together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.http.errors import TooManyUploadsError
from app.http.spool import Spool
from app.storage.tallies import Tallies

OTHER = """
import sys
from pathlib import Path
from app.storage.tallies import Tallies
tallies = Tallies.open(Path(sys.argv[1]), 2)
tallies.get("spool_bytes").add(700)
tallies.changes_of("default", "cats").add(1)
print(tallies.get("spool_bytes").total)
"""


def run_other(path: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", OTHER, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    return int(done.stdout)


def test_processes_count_together_and_the_dead_are_forgotten(tmp_path: Path) -> None:
    parent = Tallies.create(tmp_path / "tallies", rows=3)
    mine = Tallies.open(tmp_path / "tallies", 1)
    held, changes = mine.get("spool_bytes"), mine.changes_of("default", "cats")
    held.add(300)
    before = changes.others
    assert run_other(tmp_path / "tallies") == 1_000
    assert (held.own, held.total, held.parts) == (300, 1_000, [0, 300, 700])
    assert changes.others != before
    assert mine.get("uploads").total == 0
    after = changes.others
    parent.clear(2)
    assert held.total == 300
    assert changes.others == after, "a change is no less one because its process has ended"
    assert run_other(tmp_path / "tallies") == 1_000
    assert changes.others != after


def test_who_has_least_under_way_in_all_processes_is_behind(tmp_path: Path) -> None:
    parent = Tallies.create(tmp_path / "tallies", rows=3)
    one, other = (Tallies.open(tmp_path / "tallies", row).in_flight("images") for row in (1, 2))
    one.add("flood", 2)
    one.add("few", 2)
    assert not one.is_behind("few")
    other.add("flood", 1)
    assert one.is_behind("few")
    assert not one.is_behind("flood")
    assert not Tallies.open(tmp_path / "tallies", 1).in_flight("questions").is_behind("few")
    parent.clear(2)
    assert not one.is_behind("few"), "what a process had under way ends with it"


def test_a_spool_is_full_with_what_other_processes_hold(tmp_path: Path) -> None:
    Tallies.create(tmp_path / "tallies", rows=3)
    held = Tallies.open(tmp_path / "tallies", 1).get("spool_bytes")
    spool = Spool(tmp_path / "spool", 1_000, held=held)
    assert run_other(tmp_path / "tallies") == 700
    spool.take(300)
    with pytest.raises(TooManyUploadsError):
        spool.take(1)


def test_one_process_alone_has_no_others() -> None:
    alone = Tallies.alone()
    alone.get("followers").add(2)
    assert (alone.get("followers").total, alone.get("followers").others) == (2, [])
