"""What a training process tells of itself, and how it is read: a time left, few figures, lines that never end."""

from __future__ import annotations

import errno
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from app.jobs.spec import JobSpec
from app.settings import Settings
from tests.unit.storage.test_disk import no_file_to_open
from workers.shared import run as module
from workers.shared.run import JobRun, Task
from workers.worker import trainer
from workers.worker.lines import MAX_LINE_BYTES, Lines


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def run(clock: Clock, tmp_path: Path) -> Iterator[JobRun]:
    task = Task(
        job=uuid.uuid4(),
        workspace="default",
        fence=1,
        attempt=1,
        spec=JobSpec(kind="train"),
        events=str(tmp_path / "events"),
        heartbeat="",
        scratch=str(tmp_path),
    )
    made = JobRun(task, Settings(data_dir=tmp_path, database_url="postgresql://nobody@127.0.0.1/nothing"))
    made.phase("fitting")
    yield made
    made.close()


def read_events(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()][1:]


def test_the_time_left_counts_pauses_in_and_does_not_jump(run: JobRun, clock: Clock, tmp_path: Path) -> None:
    for step in range(1, 101):
        clock.now += 1
        if step % 50 == 0:
            clock.now += 25  # looks at what is held out
        run.step(step, 200)
    left = {event["step"]: event["eta_s"] for event in read_events(tmp_path)}
    assert left[1] is None
    assert left[100] == pytest.approx(150, rel=0.02), "a hundred steps and two looks"
    assert left[51] / left[49] < 2


def test_figures_of_days_are_thousands_not_millions(run: JobRun, clock: Clock, tmp_path: Path) -> None:
    days, steps = 2, 20_000
    for step in range(1, steps + 1):
        clock.now += days * 86_400 / steps
        run.step(step, steps, loss=1 / step, **({"validation_loss": 0.5} if step % 5_000 == 0 else {}))
    events = read_events(tmp_path)
    figures = [event for event in events if event["metrics"]]
    assert len(events) == steps
    assert 5_000 < len(figures) < 13_000
    assert [figure["step"] for figure in figures if "validation_loss" in figure["metrics"]] == [
        5_000,
        10_000,
        15_000,
        20_000,
    ]
    assert figures[-1]["metrics"]["loss"] == 1 / steps


def test_output_without_ends_or_pauses_holds_nobody_up() -> None:
    read, write = os.pipe()
    os.set_blocking(read, False)
    lines = Lines(read, printed=True)
    with open(read, "rb"), open(write, "wb", buffering=0) as out:
        out.write(b"50%\r75%\r100%\r\nwhole\nhalf a ")
        assert lines.read() == [b"100%", b"whole"]
        out.write(b"line\n")
        assert lines.read() == [b"half a line"]
        for _ in range(100):
            out.write(b"." * 10_000)
            assert lines.read() == []
        out.write(b"!\n")
        (last,) = lines.read()
        assert len(last) <= MAX_LINE_BYTES
        assert last.startswith(b".")
    flood = os.open("/dev/zero", os.O_RDONLY)  # never pauses
    try:
        began = time.monotonic()
        assert Lines(flood, printed=True).read() == []
        assert time.monotonic() - began < 5
    finally:
        os.close(flood)


def test_a_full_database_is_not_taken_for_the_disk_of_the_job(tmp_path: Path) -> None:
    said = psycopg.errors.DiskFull("could not extend file: No space left on device")
    told = trainer._describe_error(OperationalError("INSERT", {}, said), tmp_path)
    assert (told["code"], told["again"], told["wait"]) == ("insufficient_storage", True, True)
    assert "The database's disk is full" in str(told["detail"])


def test_a_process_that_can_open_no_file_lets_its_job_wait_whatever_a_library_says(tmp_path: Path) -> None:
    error = RuntimeError("File /scratch/weights.pt cannot be opened.")
    assert trainer._describe_error(error, tmp_path)["code"] == "training_failed"
    with no_file_to_open():
        told = trainer._describe_error(error, tmp_path)
    assert (told["code"], told["again"], told["wait"]) == ("too_many_open_files", True, True)


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES])
def test_a_disk_that_fails_is_no_fault_of_the_training(number: int, tmp_path: Path) -> None:
    told = trainer._describe_error(OSError(number, os.strerror(number)), tmp_path)
    assert (told["code"], told["again"]) == ("store_unavailable", True)
    assert (
        trainer._describe_error(FileNotFoundError(errno.ENOENT, "gone"), tmp_path)["code"]
        == "training_failed"
    )
