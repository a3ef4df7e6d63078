"""Random faults over running jobs and writes, then a count of everything: `python -m tests.faults.storm --seed 7`.

A cluster of a service, workers, a sweeper and a small disk works all the while: threads teach and forget examples,
jobs of four kinds are queued. Faults are drawn from a seeded generator. Afterwards every process runs again, open
jobs end, and `Account` says what was lost, doubled or stuck.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import Cluster, running, until
from tests.disks import SmallDisk, small_disk
from tests.faults.storm.account import check
from tests.faults.storm.faults import MAX_PAUSE_SECONDS, WORKERS, Faults
from tests.faults.storm.work import Ledger, Work

DRAIN_SECONDS = 420


@dataclass
class Account:
    """What a storm came to; `wrong` is empty where nothing was lost, doubled or stuck."""

    faults: dict[str, int]
    examples: int
    jobs: dict[str, int]
    """Jobs by kind and state, such as `train succeeded`."""
    attempts: int
    refusals: dict[str, int]
    seconds: float
    wrong: list[str]


@contextmanager
def stormy(folder: Path) -> Iterator[tuple[Cluster, SmallDisk]]:
    """A cluster with workers, whose blobs lie on a small disk."""
    folder.mkdir()
    with (
        small_disk(folder / "blobs") as disk,
        running(folder, VISION_MIN_FREE_MB=str(disk.min_free_mb)) as cluster,
    ):
        for _ in range(WORKERS):
            cluster.worker(VISION_MIN_FREE_MB=str(disk.min_free_mb), VISION_JOB_WAIT_S="1")
        with cluster.api.client() as client:
            client.post("/v1/collections", json={"name": "storm"}).raise_for_status()
        yield cluster, disk


def storm(folder: Path, *, seed: int, faults: int) -> Account:
    """Let `faults` faults strike a working cluster, wait until every job has ended, and count."""
    begun = time.monotonic()
    ledger = Ledger()
    with stormy(folder) as (cluster, disk):
        work, strikes = Work(cluster, ledger, seed), Faults(cluster, disk, seed)
        pauses = random.Random(f"{seed} pauses")
        try:
            for number in range(faults):
                time.sleep(pauses.uniform(0.2, MAX_PAUSE_SECONDS))
                say(f"{time.monotonic() - begun:6.1f} s  {number + 1:3}  {strikes.strike()}")
        finally:
            work.end()
        open_jobs = "SELECT id, kind, state, error FROM jobs WHERE state IN ('queued', 'running')"
        stuck: list[str] = []
        try:
            until(lambda: not cluster.rows(open_jobs), DRAIN_SECONDS)
        except AssertionError:
            stuck = [f"stuck: {row}" for row in cluster.rows(open_jobs)]
        wrong = stuck + check(cluster, ledger)
        rows = cluster.rows("SELECT kind, state, fence FROM jobs")
        return Account(
            faults=dict(strikes.done),
            examples=len(ledger.taught),
            jobs=dict(Counter(f"{row['kind']} {row['state']}" for row in rows)),
            attempts=sum(row["fence"] for row in rows),
            refusals=dict(ledger.refusals),
            seconds=round(time.monotonic() - begun, 1),
            wrong=wrong,
        )


def say(line: str) -> None:
    """Print a line at once, into a pipe too."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
