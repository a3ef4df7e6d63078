"""Slots of one process and of several."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.bounded import slots
from app.bounded.slots import Slots

HOLD = """
import sys
from pathlib import Path
from app.bounded import slots
slots.share(Path(sys.argv[1]))
taken = slots.Slots("check").take(2)
print("taken" if taken else "full", flush=True)
sys.stdin.read()
"""


def test_one_process_counts_for_itself() -> None:
    mine = Slots("check")
    first, second = mine.take(2), mine.take(2)
    assert first
    assert second
    assert mine.take(2) is None
    first()
    with mine.hold(2):
        assert mine.take(2) is None
    assert mine.take(2)


def test_processes_share_slots_and_a_killed_one_gives_its_own_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "_folder", tmp_path)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout
        assert other.stdout.readline() == "taken\n"
        mine = Slots("check")
        give_back = mine.take(2)
        assert give_back
        assert mine.take(2) is None
        assert Slots("decoder").take(1), "others are counted apart"
        other.kill()
        other.wait(60)
        assert mine.take(2)
    give_back()
    assert mine.take(2)
