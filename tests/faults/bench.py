"""A workspace with examples, its jobs, and attempts at them by a supervisor in this process."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from app.bootstrap import Services
from workers.worker.supervisor import supervise

DEADLINE_S = 60
LEASE_S = 60.0
PERIODS = {"job_lease_s": LEASE_S, "job_heartbeat_s": 0.5, "job_cancel_poll_s": 0.3, "job_stop_grace_s": 8.0}


class Bench:
    """A workspace with examples, its jobs, and attempts at them."""

    def __init__(self, client: httpx.AsyncClient, services: Services) -> None:
        self.client = client
        self.services = services
        self.settings = services.settings.replace(**PERIODS)

    async def submit(self, **params: Any) -> uuid.UUID:
        params = {"augment": False, **params}
        body = {"strategy": "prototypical_fewshot", "base_model": "lite", "params": params}
        reply = await self.client.post("/v1/jobs", json=body)
        assert reply.status_code == 202, reply.text
        return uuid.UUID(reply.json()["id"])

    def attempt(
        self, job: uuid.UUID, draining: threading.Event | None = None, **settings: Any
    ) -> asyncio.Task[None]:
        """One attempt, in a thread."""
        used = self.settings.replace(**settings)
        return asyncio.create_task(
            asyncio.to_thread(supervise, job, used, self.services.addresses, draining or threading.Event())
        )

    async def ask(self, query: str, *values: Any) -> list[dict[str, Any]]:
        def now() -> list[dict[str, Any]]:
            url = self.services.addresses.database_url
            with psycopg.connect(url, row_factory=dict_row) as connection:
                return connection.execute(query, values).fetchall()  # type: ignore[arg-type]

        return await asyncio.to_thread(now)

    async def row(self, job: uuid.UUID) -> dict[str, Any]:
        return (await self.ask("SELECT * FROM jobs WHERE id = %s", job))[0]

    async def comes_up(self, job: uuid.UUID) -> None:
        """Let the time pass that the job is put off for."""
        assert (await self.row(job))["not_before"] > datetime.now(UTC)
        await self.ask("UPDATE jobs SET not_before = now() WHERE id = %s RETURNING id", job)

    async def log(self, job: uuid.UUID) -> list[str]:
        rows = await self.ask(
            "SELECT data->>'line' AS line FROM job_events WHERE job_id = %s AND kind = 'log' ORDER BY id", job
        )
        return [row["line"] for row in rows]

    async def reaches(
        self, job: uuid.UUID, found: Callable[[dict[str, Any]], Any], attempt: asyncio.Task[None]
    ) -> dict[str, Any]:
        """The job's row once it is as wanted."""
        deadline = time.monotonic() + DEADLINE_S
        while not found(row := await self.row(job)):
            assert not attempt.done(), f"the attempt ended before: {row}\n{await self.log(job)}"
            assert time.monotonic() < deadline, row
            await asyncio.sleep(0.01)
        return row
