"""What a sweep ends, whom it tells, and which files it leaves: on a real database, broker and folder."""

from __future__ import annotations

import json
import threading
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from app.embedded import Addresses
from app.jobs import presence
from app.jobs.queueing import JobQueue
from app.settings import Settings
from app.storage.files import FileStore
from workers.worker.sweeper import SWEEP_LOCK, Sweeper


class Table:
    """Rows of jobs as they may be found."""

    def __init__(self, addresses: Addresses) -> None:
        self._url = addresses.database_url

    def ask(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Run one statement in a transaction of its own."""
        with psycopg.connect(self._url, row_factory=dict_row) as connection:
            cursor = connection.execute(query, values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def job(self, state: str = "queued", **columns: Any) -> uuid.UUID:
        """A job in that state."""
        row = {
            "id": uuid.uuid4(),
            "workspace": "default",
            "kind": "train",
            "spec": "{}",
            "queue": "cpu",
            "max_attempts": 5,
            "state": state,
        } | columns
        names = ", ".join(row)
        self.ask(f"INSERT INTO jobs ({names}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())  # noqa: S608
        return uuid.UUID(str(row["id"]))

    def state(self, job: uuid.UUID) -> dict[str, Any]:
        """Its row."""
        return self.ask("SELECT * FROM jobs WHERE id = %s", job)[0]

    def list_events(self, job: uuid.UUID) -> list[dict[str, Any]]:
        """What its events carry."""
        return [
            row["data"] for row in self.ask("SELECT data FROM job_events WHERE job_id = %s ORDER BY id", job)
        ]


@pytest.fixture
def table(addresses: Addresses) -> Table:
    return Table(addresses)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, job_history_days=7.5)


@pytest.fixture
def sweeper(addresses: Addresses, settings: Settings) -> Sweeper:
    return Sweeper(settings, addresses)


@pytest.fixture
def queue(addresses: Addresses) -> JobQueue:
    return JobQueue(addresses.redis_url)


LAPSED, HELD = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"


def test_what_nobody_will_end_is_ended_and_said(table: Table, sweeper: Sweeper) -> None:
    cancelled = table.job("running", cancel=True, lease=LAPSED)
    lost = table.job("running", attempt=5, lease=LAPSED)
    crashed = table.job(attempt=5, error=json.dumps({"code": "process_died", "detail": "It was killed."}))
    held = table.job("running", cancel=True, attempt=5, lease=HELD)
    sweeper.sweep()
    assert table.state(cancelled)["state"] == "cancelled"
    assert table.list_events(cancelled) == [{"state": "cancelled"}]
    for job, words in ((lost, "Its worker was lost each time."), (crashed, "It was killed.")):
        row = table.state(job)
        assert row["state"] == "failed"
        assert row["error"]["code"] == "attempts_exhausted"
        assert words in row["error"]["detail"]
        assert table.list_events(job) == [{"state": "failed", "error": row["error"]}]
    assert table.state(held)["state"] == "running", "its worker ends it"


def test_workers_hear_of_what_waits_once_a_period(table: Table, sweeper: Sweeper, queue: JobQueue) -> None:
    waits = table.job()
    lapsed = table.job("running", attempt=1, lease=LAPSED)
    table.job("running", attempt=1, lease=HELD)
    table.job("succeeded")
    elsewhere = table.job(queue="gpu")
    sweeper.sweep()
    sweeper.sweep()
    assert queue.waiting("cpu") == 2
    assert queue.waiting("gpu") == 1
    assert all(table.state(job)["published_at"] for job in (waits, lapsed, elsewhere))
    table.ask("UPDATE jobs SET published_at = now() - interval '1 hour'")
    sweeper.sweep()
    assert queue.waiting("cpu") == 4


def test_of_a_job_that_is_put_off_workers_hear_when_its_time_has_come(
    table: Table, sweeper: Sweeper, queue: JobQueue
) -> None:
    job = table.job(not_before=HELD)
    sweeper.sweep()
    assert queue.waiting("cpu") == 0
    assert table.state(job)["published_at"] is None
    table.ask("UPDATE jobs SET not_before = %s WHERE id = %s", LAPSED, job)
    sweeper.sweep()
    assert queue.waiting("cpu") == 1
    assert table.state(job)["published_at"] is not None


def test_a_queue_that_nobody_empties_does_not_grow_for_ever(
    table: Table, sweeper: Sweeper, queue: JobQueue
) -> None:
    job = table.job()
    for _ in range(100):
        assert queue.publish(job, "cpu")
    sweeper.sweep()
    assert queue.waiting("cpu") == 100


def test_a_job_that_no_worker_can_hear_of_says_so_once(
    table: Table, sweeper: Sweeper, addresses: Addresses
) -> None:
    waits = {queue: table.job(queue=queue) for queue in ("cpu", "gpu")}
    for job in waits.values():
        told = "INSERT INTO job_events (job_id, kind, data, at) VALUES (%s, 'state', %s, '2020-01-01')"
        table.ask(told, job, json.dumps({"state": "queued"}))
    stop = threading.Event()
    listening = threading.Thread(
        target=presence.announce,
        args=(addresses.redis_url, {"cpu"}),
        kwargs={"every_s": 0.05, "for_s": 60, "until": stop},
    )
    listening.start()
    try:
        while "cpu" in presence.find_unserved(addresses.redis_url, ["cpu"]):
            assert listening.is_alive()
        for _ in range(4):
            sweeper.sweep()
            lines = table.list_events(waits["gpu"])[1:]
            assert len(lines) <= 1
        assert table.list_events(waits["cpu"]) == [{"state": "queued"}]
        assert "No worker listens to the queue 'gpu'" in lines[0]["line"]
    finally:
        stop.set()
        listening.join()


def test_one_sweep_at_a_time(table: Table, addresses: Addresses, sweeper: Sweeper, queue: JobQueue) -> None:
    table.job()
    with psycopg.connect(addresses.database_url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (SWEEP_LOCK,))
        sweeper.sweep()
        assert queue.waiting("cpu") == 0
    sweeper.sweep()
    assert queue.waiting("cpu") == 1


def test_a_broker_that_is_away_marks_nothing_as_told(
    table: Table, addresses: Addresses, tmp_path: Path
) -> None:
    job = table.job()
    away = Addresses(addresses.database_url, f"unix://{tmp_path}/nobody.sock?db=0")
    Sweeper(Settings(data_dir=tmp_path), away).sweep()
    assert table.state(job)["published_at"] is None


def test_tidying_keeps_what_is_published_resumed_or_written(
    table: Table, sweeper: Sweeper, settings: Settings, tmp_path: Path
) -> None:
    files = FileStore.from_settings(settings)
    content = tmp_path / "content"
    content.write_bytes(b"weights")

    def put(job: uuid.UUID, *names: str) -> None:
        for name in names:
            files.put(f"jobs/{job}/{name}", content)

    def at(fence: int) -> str:
        return json.dumps({"prefix": "", "fence": fence, "step": 1, "files": {}})

    done = table.job("succeeded", fence=3, finished_at="now")
    put(done, "examples.json", "1/artifacts/a", "2/checkpoints/5/s", "3/artifacts/a", "3/checkpoints/9/s")
    table.ask(
        "INSERT INTO artifacts (workspace, job_id, model, name, key, sha256, size) "
        "VALUES ('default', %s, 'm', 'a', %s, '', 1)",
        done,
        f"jobs/{done}/3/artifacts/a",
    )
    runs = table.job("running", fence=3, lease=HELD, checkpoint=at(2))
    put(runs, "examples.json", "1/checkpoints/1/s", "2/checkpoints/5/s", "3/checkpoints/9/s", "4/artifacts/a")
    failed = table.job("failed", fence=2, finished_at="now", checkpoint=at(1))
    put(failed, "examples.json", "1/checkpoints/1/s", "2/artifacts/a")
    old = table.job("cancelled", fence=1, finished_at="now", checkpoint=at(1))
    table.ask("UPDATE jobs SET finished_at = now() - interval '8 days' WHERE id = %s", old)
    put(old, "examples.json", "1/checkpoints/1/s")
    for job, kind in ((old, "log"), (old, "state"), (failed, "log")):
        table.ask("INSERT INTO job_events (job_id, kind, data) VALUES (%s, %s, '{}')", job, kind)
    stranger = uuid.uuid4()
    put(stranger, "1/artifacts/a")

    sweeper.tidy()

    def list_files(job: uuid.UUID) -> set[str]:
        root = tmp_path / "files" / "jobs" / str(job)
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}

    assert list_files(done) == {"3/artifacts/a"}
    assert list_files(runs) == {"examples.json", "2/checkpoints/5/s", "3/checkpoints/9/s", "4/artifacts/a"}
    assert list_files(failed) == {"examples.json", "1/checkpoints/1/s"}
    assert list_files(old) == set()
    assert table.state(old)["checkpoint"] is None, "a retry starts over"
    kept = table.ask("SELECT job_id, kind FROM job_events ORDER BY id")
    assert [(row["job_id"], row["kind"]) for row in kept] == [(old, "state"), (failed, "log")]
    assert list_files(stranger) == {"1/artifacts/a"}, "another service's, for all this one knows"
