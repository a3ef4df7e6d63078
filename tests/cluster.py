"""A service, its databases and workers as processes that share nothing else but a folder of blobs.

Knows how to start and hurt them; imports nothing of what they do. Periods are short, so that a lost worker is
noticed within seconds.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import psycopg
import redis
from psycopg.rows import dict_row

from app.embedded import Addresses, EmbeddedServers
from tests import live, shapes
from tests.live import Live
from tests.made_engines import share_engines

LEASE_S = 8.0
PERIODS = {
    "VISION_JOB_LEASE_S": str(LEASE_S),
    "VISION_JOB_HEARTBEAT_S": "0.5",
    "VISION_JOB_SWEEP_S": "1",
    "VISION_JOB_CANCEL_POLL_S": "0.3",
    "VISION_JOB_STOP_GRACE_S": "30",
    "VISION_LOG_FORMAT": "text",
    # several processes on few cores: threads that wait for one another by spinning take all of them
    "OMP_NUM_THREADS": "1",
}
FINISHED = {"succeeded", "failed", "cancelled"}
T = TypeVar("T")
_numbers = itertools.count(1)


def until(found: Callable[[], T], deadline_s: float = 120, why: str = "") -> T:
    """Poll for something true."""
    deadline = time.monotonic() + deadline_s
    while not (value := found()):
        assert time.monotonic() < deadline, why or "it never happened"
        time.sleep(0.03)
    return value


@dataclass
class Worker:
    """One `celery -A workers worker` with a data folder of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def children(self) -> list[psutil.Process]:
        """The training processes that it started."""
        found = []
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # it has just ended
                    if child.status() != psutil.STATUS_ZOMBIE:
                        found.append(child)
        return found

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(60)

    def stop(self, deadline_s: float = 60) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(deadline_s)


@dataclass
class Cluster:
    """See the module."""

    addresses: Addresses
    folder: Path
    api: Live
    workers: list[Worker] = field(default_factory=list)
    sweepers: list[Worker] = field(default_factory=list)

    def worker(self, *words: str, queues: str = "cpu", **extra: str) -> Worker:
        """Start one and return at once."""
        data_dir = self.folder / f"worker-{next(_numbers)}"
        share_engines(data_dir)
        log = data_dir / "log"
        with log.open("ab") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "workers", "worker", "--queues", queues, *words],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=live.environment(VISION_DATA_DIR=str(data_dir), **environment(self), **extra),
                start_new_session=True,
            )
        worker = Worker(process, log)
        self.workers.append(worker)
        return worker

    def submit(self, client: httpx.Client, **params: Any) -> uuid.UUID:
        """A job that trains on the default collection, with many checkpoints."""
        params = {"steps": 300, "checkpoint_every": 20, "evaluate_every": 300, "augment": False, **params}
        body = {"strategy": "prototypical_fewshot", "base_model": "lite", "params": params}
        reply = client.post("/v1/jobs", json=body)
        assert reply.status_code == 202, reply.text
        return uuid.UUID(reply.json()["id"])

    def row(self, job: uuid.UUID) -> dict[str, Any]:
        """The job's row."""
        found = self.rows("SELECT * FROM jobs WHERE id = %s", job)
        return found[0]

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """What the database answers; waits for a database that restarts."""

        def ask() -> list[list[dict[str, Any]]]:
            with (
                suppress(psycopg.OperationalError),
                psycopg.connect(self.addresses.database_url, row_factory=dict_row) as connection,
            ):
                return [connection.execute(query, values).fetchall()]  # type: ignore[arg-type]
            return []

        return until(ask, 90)[0]

    def reaches(
        self, job: uuid.UUID, found: Callable[[dict[str, Any]], Any], deadline_s: float = 90
    ) -> dict[str, Any]:
        """The job's row once it is as wanted."""
        seen: dict[str, Any] = {}

        def look() -> bool:
            seen.update(self.row(job))
            return bool(found(seen))

        try:
            until(look, deadline_s)
        except AssertionError:
            logs = "\n".join(worker.log.read_text()[-3_000:] for worker in self.workers)
            raise AssertionError(f"the job stayed {seen}\n{logs}") from None
        return seen

    def ends(self, job: uuid.UUID, deadline_s: float = 120) -> dict[str, Any]:
        """The job's row once it has ended."""
        return self.reaches(job, lambda row: row["state"] in FINISHED, deadline_s)

    def stop_workers(self) -> None:
        """End all that were started, also those that were stopped or killed."""
        for worker in self.workers:
            for child in worker.children():
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGCONT)
                worker.kill()
        self.workers.clear()


def is_answering(broker: redis.Redis) -> bool:
    """Whether Valkey is there."""
    with suppress(redis.RedisError):
        return bool(broker.ping())
    return False


def environment(cluster: Cluster) -> dict[str, str]:
    """Where everybody meets, and the short periods."""
    return {
        "VISION_DATABASE_URL": cluster.addresses.database_url,
        "VISION_REDIS_URL": cluster.addresses.redis_url,
        "VISION_BLOB_URL": f"file://{cluster.folder / 'blobs'}",
        **PERIODS,
    }


@contextmanager
def running(folder: Path, **extra: str) -> Iterator[Cluster]:
    """A cluster with a ready service, taught examples and a sweeper, without a worker."""
    servers = EmbeddedServers(folder / "servers", durable=False)
    try:
        addresses = servers.start()
        cluster = Cluster(addresses, folder, None)  # type: ignore[arg-type]
        with live.serving(folder / "api", **environment(cluster), **extra) as cluster.api:
            with cluster.api.client() as client:
                for number in range(8):
                    label = "circle" if number % 2 else "square"
                    client.post(
                        "/v1/collections/default/examples",
                        data={"label": label},
                        files={"images": shapes.data(number)},
                    ).raise_for_status()
            try:
                cluster.worker("--concurrency", "2", queues="sweep")
                cluster.sweepers, cluster.workers = cluster.workers, []
                yield cluster
            finally:
                cluster.stop_workers()
                cluster.workers = cluster.sweepers
                cluster.stop_workers()
    finally:
        servers.stop()
