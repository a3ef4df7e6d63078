"""What can be done to a cluster; each fault leaves it so that it can work again."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import suppress

import psutil
import psycopg
import redis

from tests import live
from tests.cluster import Cluster, is_answering, until
from tests.disks import SmallDisk
from tests.integration.embedded.test_embedded import pids

WORKERS = 2
MAX_PAUSE_SECONDS = 2.5
"""Between two faults; as long do a stopped process and a full disk last at the most, a stopped worker longer."""


class Faults:
    """Draws faults from a seed and counts them by name."""

    def __init__(self, cluster: Cluster, disk: SmallDisk, seed: int) -> None:
        self._cluster, self._disk, self._chance = cluster, disk, random.Random(seed)
        self.done = Counter[str]()

    def strike(self) -> str:
        """One fault; its name."""
        faults = [
            self.kill_a_worker, self.kill_a_child, self.pause_a_worker, self.stop_a_worker, self.kill_the_service,
            self.pause_the_service, self.stop_the_service, self.kill_the_sweeper, self.kill_postgres,
            self.pause_postgres, self.kill_valkey, self.flush_valkey, self.fill_the_disk,
        ]  # fmt: skip
        fault = self._chance.choice(faults)
        fault()
        self.done[fault.__name__] += 1
        return fault.__name__

    def kill_a_worker(self) -> None:
        self._chance.choice(self._cluster.workers).kill()
        self._replace_workers()

    def kill_a_child(self) -> None:
        children = [child for worker in self._cluster.workers for child in worker.children()]
        if children:
            with suppress(psutil.NoSuchProcess):
                self._chance.choice(children).kill()

    def pause_a_worker(self) -> None:
        worker = self._chance.choice(self._cluster.workers)
        self._pause(psutil.Process(worker.process.pid), longest=5.0)  # longer than a lease

    def stop_a_worker(self) -> None:
        worker = self._chance.choice(self._cluster.workers)
        worker.stop(60)
        self._replace_workers()

    def kill_the_service(self) -> None:
        api = self._cluster.api
        api.process.kill()
        api.process.wait(60)
        self._restart_service()

    def stop_the_service(self) -> None:
        self._cluster.api.stop()
        self._restart_service()

    def pause_the_service(self) -> None:
        self._pause(psutil.Process(self._cluster.api.process.pid))

    def kill_the_sweeper(self) -> None:
        cluster = self._cluster
        cluster.sweepers.pop().kill()
        others, cluster.workers = cluster.workers, []
        cluster.worker("--concurrency", "2", queues="sweep")
        cluster.sweepers, cluster.workers = cluster.workers, others

    def kill_postgres(self) -> None:
        self._servers()[0].kill()

    def pause_postgres(self) -> None:
        self._pause(self._servers()[0])

    def kill_valkey(self) -> None:
        self._servers()[1].kill()

    def flush_valkey(self) -> None:
        with redis.Redis.from_url(self._cluster.addresses.redis_url) as broker:
            until(lambda: is_answering(broker), 30)
            with suppress(redis.RedisError):
                broker.flushall()

    def fill_the_disk(self) -> None:
        try:
            with suppress(OSError):  # others took the last room meanwhile
                self._disk.fill(left_mb=self._chance.choice([0, 8]))
            self._rest()
        finally:
            self._disk.clear()

    def _servers(self) -> list[psutil.Process]:
        """The postmaster and Valkey, once both are there."""

        def find() -> list[psutil.Process]:
            with suppress(psycopg.OperationalError, redis.RedisError, psutil.NoSuchProcess):
                return [psutil.Process(pid) for pid in pids(self._cluster.addresses)]
            return []

        return until(find, 60)

    def _pause(self, process: psutil.Process, longest: float = MAX_PAUSE_SECONDS) -> None:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            try:
                self._rest(longest)
            finally:
                process.resume()

    def _rest(self, longest: float = MAX_PAUSE_SECONDS) -> None:
        time.sleep(self._chance.uniform(0.2, longest))

    def _replace_workers(self) -> None:
        cluster = self._cluster
        cluster.workers = [worker for worker in cluster.workers if worker.process.poll() is None]
        while len(cluster.workers) < WORKERS:
            cluster.worker()

    def _restart_service(self) -> None:
        api = self._cluster.api
        api.process = live.launch(api.data_dir, port=api.port, **api.extra).process
        api.wait_until_ready()
