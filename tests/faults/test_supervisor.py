"""One worker's attempts at a job, the real supervisor in this process and its real child beside it, under ill use."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import threading
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import pytest_asyncio
from psycopg import sql

from app.bootstrap import Services
from app.embedded import Addresses
from tests import shapes
from tests.conftest import ClientMaker
from tests.disks import small_disk
from tests.faults.bench import LEASE_S, Bench
from tests.held import STOPPING_NAMES, held, is_asked_to_end, stopping_at
from workers.worker import launching

pytestmark = pytest.mark.slow

LONG = 1_000_000
CUT_OFF_LEASE_S = 10.0


@pytest_asyncio.fixture
async def bench(make_client: ClientMaker, services: Services) -> AsyncIterator[Bench]:
    client = await make_client()
    for number in range(8):
        reply = await client.post(
            "/v1/collections/default/examples",
            data={"label": "circle" if number % 2 else "square"},
            files={"images": shapes.data(number)},
        )
        assert reply.is_success, reply.text
    yield Bench(client, services)
    for left in children():
        left.kill()


def children() -> list[psutil.Process]:
    """The training processes below this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE and "workers.worker.trainer" in " ".join(
                process.cmdline()
            ):
                found.append(process)
    return found


async def test_killed_before_and_after_fitting_a_job_ends_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens to a fit that is killed, test_jobs.py shows."""
    job = await bench.submit(steps=300, checkpoint_every=50, evaluate_every=300)
    steps = []
    for number, phase in enumerate(("preparing", "evaluating", "saving"), 1):
        for name, value in stopping_at(phase).items():
            monkeypatch.setenv(name, value)
        attempt = bench.attempt(job, job_lease_s=60.0, job_environment=STOPPING_NAMES)
        await bench.reaches(
            job,
            lambda row, number=number, phase=phase: (row["fence"], row["phase"]) == (number, phase),
            attempt,
        )
        for child in children():
            child.kill()
        await attempt
        row = await bench.row(job)
        assert (row["state"], row["attempt"], row["fence"]) == ("queued", number, number)
        assert row["error"]["code"] == "process_died"
        assert "SIGKILL" in row["error"]["detail"]
        assert not await bench.ask("SELECT id FROM trained_models WHERE job_id = %s", job)
        steps.append(row["checkpoint"]["step"] if row["checkpoint"] else 0)
    assert steps == [0, 300, 300]

    await bench.attempt(job)
    row = await bench.row(job)
    assert (row["state"], row["attempt"], row["error"]) == ("succeeded", 4, None)
    (model,) = await bench.ask("SELECT id, card FROM trained_models WHERE job_id = %s", job)
    assert model["id"] == row["model"]
    assert model["card"]["strategy"] == "prototypical_fewshot"
    keys = await bench.ask("SELECT key FROM artifacts WHERE job_id = %s", job)
    assert keys
    assert all(key["key"].startswith(f"jobs/{job}/4/artifacts/") for key in keys)
    assert (await bench.log(job)).count("Going on after step 300.") == 2


async def test_what_goes_wrong_in_the_work_is_the_jobs_error(bench: Bench, tmp_path: Path) -> None:
    old, young = tmp_path / "old-1", tmp_path / "young-1"
    for folder in (old, young):
        (folder / "work").mkdir(parents=True)
        (folder / launching.HEARTBEAT).touch()
    long_ago = time.time() - 100 * LEASE_S
    os.utime(old / launching.HEARTBEAT, (long_ago, long_ago))
    job = await bench.submit(steps=1)
    rows = await bench.ask(
        "SELECT DISTINCT e.image_sha256 AS image FROM examples e JOIN collections c ON c.id = e.collection_id "
        "JOIN jobs j ON j.workspace = c.workspace WHERE j.id = %s",
        job,
    )
    assert rows
    hidden = []
    for row in rows:  # behind the service's back
        (path,) = (bench.settings.server.data_dir / "blobs").rglob(f"{row['image']}*")
        hidden.append((path, path.rename(path.with_name(f"hidden-{path.name}"))))
    try:
        await bench.attempt(job, scratch_dir=tmp_path)
    finally:
        for path, where in hidden:
            where.rename(path)
    row = await bench.row(job)
    assert (row["state"], row["attempt"]) == ("failed", 1), "the same would happen again"
    assert row["error"]["code"] == "training_failed"
    assert row["error"]["detail"].startswith("FileNotFoundError")
    assert any(line.startswith("FileNotFoundError") for line in await bench.log(job))
    assert os.listdir(tmp_path) == ["young-1"], "its own folder went, and what a killed worker left long ago"


async def test_a_worker_that_stops_waits_for_nothing_that_can_be_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a job loads before its first step holds nobody up."""
    job = await bench.submit(steps=1)
    draining = threading.Event()
    for name, value in stopping_at("preparing").items():
        monkeypatch.setenv(name, value)
    attempt = bench.attempt(job, draining, job_stop_grace_s=60.0, job_environment=STOPPING_NAMES)
    await bench.reaches(job, lambda row: row["phase"] == "preparing", attempt)
    child = await asyncio.to_thread(held, children)
    draining.set()
    began = time.monotonic()
    while not is_asked_to_end(child):  # or it would be past this phase when it is asked
        assert time.monotonic() - began < 20
        await asyncio.sleep(0.01)
    child.resume()
    await attempt
    assert time.monotonic() - began < 20
    assert children() == []
    row = await bench.row(job)
    assert (row["state"], row["attempt"], row["fence"], row["lease"]) == ("queued", 0, 1, None)


async def test_without_a_database_it_trains_until_the_lease_ends_and_no_longer(
    bench: Bench, servers: Addresses
) -> None:
    job = await bench.submit(steps=LONG, checkpoint_every=LONG, evaluate_every=LONG)
    name = sql.Identifier(urlsplit(bench.services.addresses.database_url).path[1:])
    with psycopg.connect(servers.database_url, autocommit=True) as database:
        others = database.execute("SELECT array_agg(pid) FROM pg_stat_activity").fetchone()
        attempt = bench.attempt(job, job_lease_s=CUT_OFF_LEASE_S)
        row = await bench.reaches(job, lambda row: row["phase"] == "fitting" and row["step"], attempt)
        (child,) = children()
        database.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        try:
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> ALL(%s) AND backend_type = 'client backend'",
                others,
            )
            cut = (database.execute("SELECT now()").fetchone() or ())[0]
            away = time.monotonic()
            while time.monotonic() - away < CUT_OFF_LEASE_S / 5:
                assert child.is_running()
                assert not attempt.done()
                await asyncio.sleep(0.05)
            await attempt
            gave_up = time.monotonic() - away
            assert gave_up < CUT_OFF_LEASE_S + 10
            assert children() == []
        finally:
            database.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    left = await bench.row(job)
    assert (left["state"], left["fence"], left["attempt"]) == ("running", 1, 1), "the sweeper's to tell of"
    assert left["lease"] <= cut + timedelta(seconds=CUT_OFF_LEASE_S), "nothing renewed it"
    # the supervisor counts from before a renewal, the database from its end, which a busy machine holds up
    assert gave_up > (left["lease"] - cut).total_seconds() - 3, (
        "it trained for as long as the job was its own"
    )
    assert left["step"] >= row["step"]
    assert (await bench.client.post(f"/v1/jobs/{job}/cancel")).is_success


async def test_out_of_room_in_the_middle_a_job_is_given_back_and_goes_on_from_its_checkpoint(
    bench: Bench, tmp_path: Path
) -> None:
    """First its child may open no more files, then the disk has no room."""
    job = await bench.submit(steps=3_000, checkpoint_every=50, evaluate_every=3_000)
    with small_disk(tmp_path / "disk") as disk:
        used = {"scratch_dir": disk.folder / "scratch", "min_free_mb": disk.min_free_mb}
        attempt = bench.attempt(job, **used)
        await bench.reaches(job, lambda row: row["checkpoint"], attempt)
        (child,) = children()
        child.rlimit(resource.RLIMIT_NOFILE, (3, child.rlimit(resource.RLIMIT_NOFILE)[1]))
        await attempt
        first = await bench.row(job)
        assert (first["state"], first["attempt"], first["fence"], first["waits"]) == ("queued", 0, 1, 1), (
            first["error"]
        )
        assert first["error"]["code"] == "too_many_open_files"

        await bench.attempt(job, **used)
        assert (await bench.row(job))["fence"] == 1, "its time has not come"
        await bench.comes_up(job)
        attempt = bench.attempt(job, **used)
        before = first["checkpoint"]["step"]
        await bench.reaches(job, lambda row: row["checkpoint"]["step"] > before, attempt)
        # again and again: what the child writes and removes would be room for what it writes next
        while not attempt.done():
            disk.fill(left_mb=0)
            await asyncio.sleep(0.01)
        await attempt
        second = await bench.row(job)
        assert (second["state"], second["attempt"], second["fence"], second["waits"]) == ("queued", 0, 2, 2)
        assert second["error"]["code"] == "insufficient_storage"
        assert "jobs' files" in second["error"]["detail"] or "keeps files" in second["error"]["detail"]
        assert not disk.own or not list((disk.folder / "scratch").iterdir())

        disk.clear()
        await bench.comes_up(job)
        await bench.attempt(job, **used)
    row = await bench.row(job)
    assert (row["state"], row["attempt"], row["fence"]) == ("succeeded", 1, 3)
    log = await bench.log(job)
    assert f"Going on after step {second['checkpoint']['step']}." in log
    assert sum("The job waits until" in line for line in log) == 2


async def test_a_job_that_never_finds_room_is_charged_in_the_end(bench: Bench) -> None:
    job = await bench.submit(steps=1)
    more_than_there_is = 10**9
    for waits, attempt in ((1, 0), (2, 0), (3, 1)):
        await bench.attempt(job, min_free_mb=more_than_there_is, job_waits=2)
        row = await bench.row(job)
        assert (row["state"], row["waits"], row["attempt"]) == ("queued", waits, attempt)
        assert row["error"]["code"] == "insufficient_storage"
        assert "has no room" in row["error"]["detail"]
        await bench.comes_up(job)
    assert children() == [], "nothing was started"
    assert (await bench.client.post(f"/v1/jobs/{job}/cancel")).is_success


async def test_a_worker_that_cannot_work_says_why(bench: Bench, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    job = await bench.submit(steps=1)
    await bench.attempt(job, scratch_dir=in_the_way)
    row = await bench.row(job)
    assert (row["state"], row["attempt"], row["error"]["code"]) == ("queued", 1, "worker_failed")
    assert "Not a directory" in row["error"]["detail"]
    assert str(tmp_path) not in row["error"]["detail"]
    await bench.attempt(job, blob_url="nothing://there")
    row = await bench.row(job)
    assert (row["state"], row["attempt"], row["error"]["code"]) == ("queued", 2, "worker_failed")
    assert "Protocol not known" in row["error"]["detail"]
