"""What a start does beside its databases never prevents it, and leaves Python as it was."""

from __future__ import annotations

import gc
import json
import sys

import pytest
import structlog.testing

from app.runtime.warming import Imports, StartSteps, pause_collection, resume_collection


def test_modules_are_there_after_waiting_and_a_missing_one_prevents_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    Imports(StartSteps(), "no_such_module_here", "colorsys").wait()
    assert "colorsys" in sys.modules


def test_the_steps_of_a_start_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = StartSteps()
    with steps.step("databases"):
        pass
    with pytest.raises(KeyError), steps.step("schema"):
        raise KeyError
    with structlog.testing.capture_logs() as lines:
        steps.tell()
    (line,) = lines
    assert {"databases_s", "schema_s", "total_s", "cpu_s"} <= line.keys()
    assert json.dumps(line)


def test_cyclic_garbage_is_collected_again_after_the_start() -> None:
    try:
        pause_collection()
        assert not gc.isenabled()
        resume_collection()
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.enable()
