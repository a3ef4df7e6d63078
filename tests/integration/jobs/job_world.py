"""One job, everybody who may touch it, and what it should be like after each of their steps."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import psycopg

from app.jobs import machine, repository
from app.jobs.spec import JobSpec
from app.storage.database import Database
from workers.shared.store import JobStore, OwnedJob
from workers.worker.sweeper import Sweeper

CAP = 3
WAITS = 2
"""Times a job is put off before such attempts are charged."""
OWNERS = {"renew", "report", "checkpoint", "succeed", "fail", "crash", "release", "postpone", "stop"}
SPEC = JobSpec(kind="train", task="classification", method="head", base_model="lite", base_kind="encoder")


@dataclass
class Model:
    """What a job should be like."""

    state: str = "queued"
    fence: int = 0
    attempt: int = 0
    cancel: bool = False
    lapsed: bool = False
    """Whether nobody holds a lease on the running job any more."""
    waits: int = 0
    put_off: bool = False
    """Whether the queued job is not to be claimed yet."""

    def allows(self, event: str, fence: int) -> bool:
        """The table, and the guards that its statements add."""
        if (self.state, event) not in machine.TABLE:
            return False
        unowned = self.state == "queued" or self.lapsed
        if event in OWNERS:
            return fence == self.fence and not self.lapsed and (event != "stop" or self.cancel)
        if event == "claim":
            return unowned and not self.cancel and self.attempt < CAP and not self.put_off
        if event == "sweep cancelled":
            return unowned and self.cancel
        if event == "sweep exhausted":
            return unowned and not self.cancel and self.attempt >= CAP
        return True

    def apply(self, event: str) -> None:
        """What an allowed event makes of the job."""
        self.state = machine.TABLE[self.state, event][0]
        match event:
            case "claim":
                self.fence += 1
                self.attempt += 1
            case "release":
                self.attempt -= 1
            case "postpone":
                self.attempt -= self.waits < WAITS
                self.waits, self.put_off = self.waits + 1, True
            case "retry":
                self.attempt, self.cancel, self.waits, self.put_off = 0, False, 0, False
            case "cancel":
                self.cancel = True
        self.lapsed &= self.state == "running" and event != "claim"


@dataclass
class World:
    """One job, everybody who may touch it, and its rows."""

    database: Database
    store: JobStore
    sweeper: Sweeper
    connection: psycopg.Connection[dict[str, Any]]
    job: uuid.UUID = field(default_factory=uuid.uuid4)
    held: list[OwnedJob] = field(default_factory=list)
    """Every claim that was ever made, by either worker."""

    def ask(self, query: str, *values: Any) -> list[dict[str, Any]]:
        cursor = self.connection.execute(query, values)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []

    def row(self) -> dict[str, Any]:
        """The job, and how much was told of it."""
        found = self.ask(
            "SELECT jobs.*, (SELECT count(*) FROM job_events WHERE job_id = jobs.id) AS told, "
            "(SELECT count(*) FROM trained_models WHERE job_id = jobs.id) AS models, "
            "(SELECT count(*) FROM artifacts WHERE job_id = jobs.id) AS files FROM jobs WHERE id = %s",
            self.job,
        )
        return found[0]

    def states(self) -> list[str]:
        """Every state the job was said to have taken on, in order."""
        rows = self.ask(
            "SELECT data->>'state' AS state FROM job_events WHERE job_id = %s AND kind = 'state' ORDER BY id",
            self.job,
        )
        return [row["state"] for row in rows]

    async def submit(self) -> None:
        new = repository.NewJob("default", None, SPEC, "cpu", CAP)
        async with self.database.session() as session:
            assert await repository.submit(session, new, self.job, max_open=10_000)

    def lapse(self) -> None:
        """Time passes: whoever runs the job did not renew."""
        self.ask(
            "UPDATE jobs SET lease = now() - interval '1 ms' WHERE id = %s AND state = 'running'", self.job
        )

    def claim(self, worker: str) -> bool:
        claimed = self.store.claim(self.job, worker)
        if claimed is not None:
            self.held.append(claimed)
        return claimed is not None

    async def cancel(self) -> bool:
        """As the service does."""
        async with self.database.session() as session:
            state = await repository.cancel(session, "default", self.job)
            if state == "cancelled":
                await repository.tell(session, self.job, "state", {"state": state})
        return state is not None

    async def retry(self) -> bool:
        """As the service does."""
        async with self.database.session() as session:
            queue = await repository.retry(session, "default", self.job)
            if queue is not None:
                await repository.tell(session, self.job, "state", {"state": "queued", "attempt": 0})
        return queue is not None
