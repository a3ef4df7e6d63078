"""Jobs survive: real workers, PostgreSQL and Valkey, killed, stopped, emptied and restarted under a real training.

No worker shares the service's data folder: they meet in the databases and in a folder of blobs.
"""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest
import redis

from app.jobs.queueing import JobQueue
from tests.cluster import Cluster, is_answering, running, until
from tests.held import held, is_asked_to_end, stopping_at
from tests.integration.embedded.test_embedded import has_ended, pids

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    """The cluster, its workers gone after the test."""
    yield shared
    shared.stop_workers()


@pytest.fixture
def client(cluster: Cluster) -> Iterator[httpx.Client]:
    with cluster.api.client() as client:
        yield client


def step_of(row: dict[str, Any]) -> int:
    """The step that the job's checkpoint was written after; -1 without one."""
    return row["checkpoint"]["step"] if row["checkpoint"] else -1


def keeps_checkpoint_of(attempt: int) -> Callable[[dict[str, Any]], bool]:
    """Whether the checkpoint of a job is one that this attempt wrote, so that it had gone on from the one before."""

    def look(row: dict[str, Any]) -> bool:
        return bool(row["attempt"] == attempt and row["checkpoint"] and row["checkpoint"]["fence"] == attempt)

    return look


def assert_succeeded_once(cluster: Cluster, client: httpx.Client, row: dict[str, Any]) -> None:
    """One end, one model, all its files from the attempt that owned the job, and it is there to be used."""
    assert row["state"] == "succeeded", row["error"]
    states = cluster.rows(
        "SELECT data->>'state' AS state FROM job_events WHERE job_id = %s AND kind = 'state' ORDER BY id",
        row["id"],
    )
    assert [state["state"] for state in states].count("succeeded") == 1
    assert states[-1]["state"] == "succeeded"
    models = cluster.rows("SELECT id FROM trained_models WHERE job_id = %s", row["id"])
    assert [model["id"] for model in models] == [row["model"]]
    keys = [row["key"] for row in cluster.rows("SELECT key FROM artifacts WHERE job_id = %s", row["id"])]
    assert keys
    assert all(key.startswith(f"jobs/{row['id']}/{row['fence']}/") for key in keys)
    assert all((cluster.folder / "blobs" / "files" / key).is_file() for key in keys)
    assert row["model"] in {model["id"] for model in client.get("/v1/models").json()["data"]}


def test_killed_at_every_step_a_job_ends_once(cluster: Cluster, client: httpx.Client) -> None:
    # each child stops itself where it is to be met: a job that only passed there might have ended before a late look
    worker = cluster.worker(**stopping_at("preparing@1,checkpoint"))
    job = cluster.submit(client, steps=1_000)

    # the child, before it has written anything
    cluster.reaches(job, lambda row: row["phase"] == "preparing")
    held(worker.children).kill()
    # the worker, after the first checkpoint
    first = cluster.reaches(job, keeps_checkpoint_of(2))
    orphan = held(worker.children)
    worker.kill()
    with suppress(psutil.NoSuchProcess):  # where it did not end with its worker, it has to end by itself
        orphan.resume()
    worker = cluster.worker(**stopping_at("checkpoint"))
    until(lambda: has_ended(orphan), 30)
    # both at once, when it had gone on from there
    second = cluster.reaches(job, keeps_checkpoint_of(3))
    assert step_of(second) > step_of(first)
    child = held(worker.children)
    worker.kill()
    with suppress(psutil.NoSuchProcess):
        child.kill()
    # told to stop in the middle of a step: it writes a checkpoint after it, and the attempt is not charged
    worker = cluster.worker(**stopping_at("step"))
    child = held(worker.children)
    worker.process.terminate()
    until(lambda: is_asked_to_end(child))
    child.resume()
    assert worker.process.wait(60) == 0
    drained = cluster.row(job)
    assert (drained["state"], drained["attempt"], drained["fence"]) == ("queued", 3, 4)
    assert drained["lease"] is None
    assert drained["checkpoint"]["fence"] == 4
    assert step_of(drained) > step_of(second)
    cluster.worker()

    ended = cluster.ends(job)
    assert (ended["attempt"], ended["fence"]) == (4, 5)
    assert_succeeded_once(cluster, client, ended)
    lines = cluster.rows(
        "SELECT data->>'line' AS line FROM job_events WHERE job_id = %s AND kind = 'log'", job
    )
    gone_on = [line["line"] for line in lines if line["line"].startswith("Going on after step")]
    assert len(gone_on) == 3
    assert f"Going on after step {step_of(drained)}." in gone_on


def test_a_stopped_worker_that_wakes_changes_nothing(cluster: Cluster, client: httpx.Client) -> None:
    asleep = cluster.worker(**stopping_at("checkpoint"))
    job = cluster.submit(client, steps=1_000)
    cluster.reaches(job, lambda row: row["checkpoint"])
    child = held(asleep.children)
    asleep.process.send_signal(signal.SIGSTOP)
    child.resume()
    cluster.worker()
    cluster.reaches(job, lambda row: row["fence"] == 2)
    until(lambda: has_ended(child), 30)
    asleep.process.send_signal(signal.SIGCONT)
    until(lambda: "no longer this worker's" in asleep.log.read_text(), 60)
    ended = cluster.ends(job)
    assert (ended["attempt"], ended["fence"]) == (2, 2)
    assert_succeeded_once(cluster, client, ended)
    assert asleep.process.poll() is None, "it goes on with other jobs"


def test_servers_that_restart_and_messages_that_are_lost_or_repeated(
    cluster: Cluster, client: httpx.Client
) -> None:
    # the first attempt waits where each thing happens to it; a second one, of the restart, runs to its end
    worker = cluster.worker(**stopping_at("preparing@1,checkpoint@1"))
    postmaster, valkey = pids(cluster.addresses)
    psutil.Process(valkey).kill()  # whoever serves the folder starts it again
    job = cluster.submit(client)
    with redis.Redis.from_url(cluster.addresses.redis_url) as broker:
        until(lambda: is_answering(broker))
        broker.flushall()
        cluster.reaches(job, lambda row: row["phase"] == "preparing")
        queue = JobQueue(cluster.addresses.redis_url)
        assert all(queue.publish(job, "cpu") for _ in range(5))
        held(worker.children).resume()
        cluster.reaches(job, lambda row: row["checkpoint"])
        child = held(worker.children)
        psutil.Process(postmaster).kill()
        child.resume()
        ended = cluster.ends(job)
        # every message was taken, and all but one found nothing to do
        until(lambda: queue.waiting("cpu") == 0)
    assert ended["attempt"] == ended["fence"] <= 2, "at most the restart cost an attempt"
    assert_succeeded_once(cluster, client, ended)


def test_cancel_ends_the_training_within_seconds(cluster: Cluster, client: httpx.Client) -> None:
    worker = cluster.worker()
    job = cluster.submit(client, steps=1_000_000, patience=0)
    before = cluster.reaches(job, lambda row: row["phase"] == "fitting" and row["checkpoint"])
    (child,) = worker.children()
    began = time.monotonic()
    assert client.post(f"/v1/jobs/{job}/cancel").is_success
    row = cluster.ends(job)
    until(lambda: has_ended(child), 20)
    assert time.monotonic() - began < 20
    assert (row["state"], row["lease"]) == ("cancelled", None)
    assert step_of(row) >= step_of(before), "a retry goes on from there"
    assert worker.children() == [], "its memory is free"


def test_a_job_that_kills_its_process_stops_at_the_cap(cluster: Cluster, client: httpx.Client) -> None:
    worker = cluster.worker()
    job = cluster.submit(client, steps=1_000_000, patience=0)  # it cannot have ended well before a late look
    while cluster.row(job)["state"] in {"queued", "running"}:
        for child in worker.children():
            with suppress(psutil.NoSuchProcess):
                child.kill()
        time.sleep(0.03)
    told = client.get(f"/v1/jobs/{uuid.UUID(str(job))}").json()
    assert (told["state"], told["attempt"], told["max_attempts"]) == ("failed", 5, 5)
    assert told["error"]["error"]["code"] == "attempts_exhausted"
    assert "after 5 attempts" in told["error"]["detail"]
    assert "SIGKILL" in told["error"]["detail"] or "signal" in told["error"]["detail"]
