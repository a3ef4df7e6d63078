"""What workers write of a job: kept as told where the database can hold it, and never a reason to get stuck."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.embedded import Addresses
from app.jobs import machine
from app.jobs.spec import FileRef, JobSpec, ModelCard, Outcome
from workers.shared.store import JobStore, OwnedJob, worker_engine

LINES = 10
SPEC = JobSpec(kind="train", task="classification", method="head", base_model="lite", base_kind="encoder")


class Jobs:
    """Rows of jobs, and a worker's store over them."""

    def __init__(self, store: JobStore, connection: psycopg.Connection[dict[str, Any]]) -> None:
        self.store = store
        self._connection = connection

    def ask(self, query: str, *values: Any) -> list[dict[str, Any]]:
        cursor = self._connection.execute(query, values)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []

    def submit(self, spec: dict[str, Any] | None = None) -> uuid.UUID:
        job = uuid.uuid4()
        self.ask(
            "INSERT INTO jobs (id, workspace, kind, strategy, spec, queue, max_attempts) "
            "VALUES (%s, 'default', 'train', 'lite_fewshot', %s, 'cpu', 2)",
            job,
            json.dumps(spec or SPEC.model_dump(mode="json")),
        )
        return job

    def job(self) -> OwnedJob:
        owned = self.store.claim(self.submit(), "here")
        assert owned is not None
        return owned

    def row(self, job: uuid.UUID) -> dict[str, Any]:
        return self.ask("SELECT * FROM jobs WHERE id = %s", job)[0]

    def list_events(self, job: uuid.UUID, kind: str) -> list[dict[str, Any]]:
        rows = self.ask("SELECT data FROM job_events WHERE job_id = %s AND kind = %s ORDER BY id", job, kind)
        return [row["data"] for row in rows]


@pytest.fixture
def jobs(module_addresses: Addresses) -> Iterator[Jobs]:
    engine = worker_engine(module_addresses.database_url)
    store = JobStore(engine, lease_s=60, log_lines=LINES)
    with psycopg.connect(module_addresses.database_url, autocommit=True, row_factory=dict_row) as connection:
        yield Jobs(store, connection)
    engine.dispose()


def test_a_suspended_worker_keeps_no_job_locked(jobs: Jobs, database_of_module: str) -> None:
    """Suspended in the middle of a transaction: others wait for its lease, not for its waking."""
    engine = worker_engine(database_of_module, idle_s=10)
    suspended = JobStore(engine, lease_s=60, log_lines=LINES).claim(jobs.submit(), "suspended")
    assert suspended is not None
    look = "SELECT id FROM jobs WHERE id = %s FOR UPDATE SKIP LOCKED"
    with engine.connect() as connection:
        suspended._mine(connection, machine.HOLD)
        assert jobs.ask(look, suspended.job.id) == []
        deadline = time.monotonic() + 60
        while not jobs.ask(look, suspended.job.id):
            assert time.monotonic() < deadline, "it is locked still"
            time.sleep(0.05)
        with pytest.raises(DBAPIError, match="idle-in-transaction"):
            connection.execute(text("SELECT 1"))
    assert suspended.renew() is False, "the job is its own still, and a new connection is made"
    engine.dispose()


@pytest.fixture
def database_of_module(module_addresses: Addresses) -> str:
    return module_addresses.database_url


def outcome(job: OwnedJob, **changes: Any) -> Outcome:
    card = ModelCard(
        id="mugs", kind="classifier", family="lite", task="classification", method="head", base_model="lite"
    )
    key = f"jobs/{job.job.id}/{job.job.fence}/artifacts/vision.json"
    file = FileRef(name="vision.json", key=key, sha256="0" * 64, size=1)
    return Outcome(card=card.model_copy(update=changes), artifacts=[file], metrics={"accuracy": 1.0})


def test_a_loss_that_overflowed_is_left_out(jobs: Jobs) -> None:
    job = jobs.job()
    job.report(
        phase="fitting", step=7, of=9, metrics={"loss": float("inf"), "grad_norm": float("nan"), "a": 1.5}
    )
    assert jobs.list_events(job.job.id, "metric") == [{"step": 7, "values": {"a": 1.5}}]
    row = jobs.row(job.job.id)
    assert (row["phase"], row["step"], row["of"], row["metrics"]) == ("fitting", 7, 9, {"a": 1.5})


def test_of_progress_the_newest_is_kept_and_of_figures_all(jobs: Jobs) -> None:
    job = jobs.job()
    for step in range(3):
        job.report(step=step, of=3, eta_s=1.0, metrics={"loss": 1.0 / (step + 1)})
    assert [event["step"] for event in jobs.list_events(job.job.id, "progress")] == [2]
    assert [event["step"] for event in jobs.list_events(job.job.id, "metric")] == [0, 1, 2]


def test_a_line_never_gets_ahead_of_what_others_tell(jobs: Jobs, database_of_module: str) -> None:
    """Who follows the job has seen every event before the one he saw last."""
    job = jobs.job()
    with psycopg.connect(database_of_module) as service, ThreadPoolExecutor(1) as worker:
        service.execute("UPDATE jobs SET cancel = true WHERE id = %s", (job.job.id,))
        event = "INSERT INTO job_events (job_id, kind, data) VALUES (%s, 'log', %s)"
        service.execute(event, (job.job.id, json.dumps({"line": "Cancelling was asked for."})))
        told = worker.submit(job.log, ["a line"])
        waits = (
            "SELECT 1 AS one FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database() AND query LIKE %s"
        )
        deadline = time.monotonic() + 60
        while not jobs.ask(waits, "%FOR NO KEY UPDATE%"):
            assert not told.done(), "it was told while the other's was not there to be seen yet"
            assert time.monotonic() < deadline
        service.commit()
        told.result(20)
    lines = [event["line"] for event in jobs.list_events(job.job.id, "log")]
    assert lines == ["Cancelling was asked for.", "a line"]


def test_a_model_without_a_figure_is_published_all_the_same(jobs: Jobs) -> None:
    job = jobs.job()
    made = outcome(job, metrics={"macro_f1": float("nan"), "accuracy": 0.5})
    made.metrics["macro_f1"] = float("nan")
    made.result["evaluation"] = {"by_label": [{"recall": float("nan"), "name": "half a \ud83d sign"}]}
    job.succeed(made)
    row = jobs.row(job.job.id)
    assert row["state"] == "succeeded"
    assert row["metrics"] == {"accuracy": 1.0, "macro_f1": None}
    assert row["result"] == {"evaluation": {"by_label": [{"recall": None, "name": "half a ? sign"}]}}
    (model,) = jobs.ask("SELECT card FROM trained_models WHERE job_id = %s", job.job.id)
    assert model["card"]["metrics"] == {"accuracy": 0.5, "macro_f1": None}


def test_whatever_a_program_prints_is_a_log_line(jobs: Jobs) -> None:
    job = jobs.job()
    job.log(["nothing\0 in \ud800 between", "é ✓"])
    job.crash("process_died", "killed by \0")
    assert jobs.list_events(job.job.id, "log") == [{"line": "nothing in ? between"}, {"line": "é ✓"}]
    assert jobs.row(job.job.id)["error"] == {"code": "process_died", "detail": "killed by "}


def test_a_job_keeps_so_many_lines_and_says_so_once(jobs: Jobs) -> None:
    job = jobs.job()
    for first in range(0, 3 * LINES, 3):
        job.log([f"line {number}" for number in range(first, first + 3)])
    lines = [event["line"] for event in jobs.list_events(job.job.id, "log")]
    assert lines[:LINES] == [f"line {number}" for number in range(LINES)]
    assert len(lines) == LINES + 1
    assert f"keeps {LINES}" in lines[-1]


def test_models_of_one_name_get_numbers(jobs: Jobs) -> None:
    names = []
    for _ in range(3):
        job = jobs.job()
        job.succeed(outcome(job, id="twins"))
        names.append(jobs.row(job.job.id)["model"])
        files = jobs.ask("SELECT model, key FROM artifacts WHERE job_id = %s", job.job.id)
        assert [(file["model"], file["key"].split("/")[1]) for file in files] == [
            (names[-1], str(job.job.id))
        ]
    assert names == ["twins", "twins-2", "twins-3"]


def test_a_job_of_another_version_is_given_back_with_the_reason(jobs: Jobs) -> None:
    job = jobs.submit({**SPEC.model_dump(mode="json"), "invented_later": True})
    for attempt in (1, 2):
        assert jobs.store.claim(job, "here") is None
        row = jobs.row(job)
        assert (row["state"], row["attempt"], row["lease"]) == ("queued", attempt, None)
        assert row["error"]["code"] == "spec_unreadable"
    assert jobs.store.claim(job, "here") is None
    assert jobs.row(job)["fence"] == 2, "the cap stops it"


def test_a_claim_tells_all_that_a_worker_needs(jobs: Jobs) -> None:
    claimed = jobs.job().job
    assert (claimed.spec, claimed.strategy, claimed.workspace) == (SPEC, "lite_fewshot", "default")
    assert (claimed.fence, claimed.attempt, claimed.max_attempts, claimed.checkpoint) == (1, 1, 2, None)
