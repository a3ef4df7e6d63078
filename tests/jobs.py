"""What a worker does to a job's row, done by the state machine's own statements: for tests without a worker.

Knows SQL of `app.jobs.machine`; trains nothing.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import TextClause, text

from app.bootstrap import Services
from app.jobs import machine

TRAIN = {"strategy": "lite_fewshot", "params": {"steps": 10}}


@dataclass
class Owner:
    """Who has claimed a job; every call is one transaction."""

    services: Services
    job: uuid.UUID
    fence: int = 0
    lease_s: float = 60
    row: dict[str, Any] = field(default_factory=dict)

    async def claim(self) -> None:
        """Take the job; fails where it cannot be had."""
        async with self.services.database.session() as session:
            found = await session.execute(
                machine.CLAIM, {"id": self.job, "worker": "test", "lease_s": self.lease_s}
            )
            self.row = dict(found.mappings().one())
            self.fence = self.row["fence"]
            await self._event(session, "state", {"state": "running", "attempt": self.row["attempt"]})

    async def step(self, step: int, of: int, eta_s: float | None = None, **values: float) -> None:
        """Report progress and metrics."""
        numbers = {"phase": "fitting", "step": step, "of": of, "eta_s": eta_s}
        async with self.services.database.session() as session:
            await self._mine(session, machine.REPORT, **numbers, metrics=json.dumps(values))
            await self._event(session, "progress", numbers)
            if values:
                await self._event(session, "metric", {"step": step, "values": values})

    async def steps(self, values: Sequence[tuple[int, dict[str, float]]]) -> None:
        """Report many metrics at once."""
        async with self.services.database.session() as session:
            await self._mine(session, machine.HOLD)
            for step, figures in values:
                await self._event(session, "metric", {"step": step, "values": figures})

    async def log(self, line: str) -> None:
        """Add a line to the job's log."""
        async with self.services.database.session() as session:
            await self._mine(session, machine.HOLD)
            await self._event(session, "log", {"line": line})

    async def succeed(self, model: str | None, files: dict[str, bytes], folder: Path) -> None:
        """Publish files and end well."""
        for name, data in files.items():
            path = folder / name.replace("/", "-")
            path.write_bytes(data)
            key = f"jobs/{self.job}/{self.fence}/{name}"
            sha256, size = self.services.files.put(key, path)
            async with self.services.database.session() as session:
                await session.execute(
                    text(
                        "INSERT INTO artifacts (workspace, job_id, model, name, key, sha256, size) "
                        "SELECT workspace, id, CAST(:model AS text), :name, :key, :sha256, :size FROM jobs "
                        "WHERE id = :id"
                    ),
                    {
                        "id": self.job,
                        "model": model,
                        "name": name,
                        "key": key,
                        "sha256": sha256,
                        "size": size,
                    },
                )
        async with self.services.database.session() as session:
            await self._mine(
                session, machine.SUCCEED, metrics="{}", result=json.dumps({"accuracy": 0.9}), model=model
            )
            await self._event(session, "state", {"state": "succeeded"})

    async def fail(self, code: str, detail: str) -> None:
        """End badly."""
        error = {"code": code, "detail": detail}
        async with self.services.database.session() as session:
            await self._mine(session, machine.FAIL, error=json.dumps(error))
            await self._event(session, "state", {"state": "failed", "error": error})

    async def stop(self) -> None:
        """End as asked."""
        async with self.services.database.session() as session:
            await self._mine(session, machine.STOP)
            await self._event(session, "state", {"state": "cancelled"})

    async def _mine(self, session: Any, statement: TextClause, **values: Any) -> None:
        done = await session.execute(statement, {"id": self.job, "fence": self.fence, **values})
        if done.one_or_none() is None:
            raise RuntimeError("somebody else owns the job")

    async def _event(self, session: Any, kind: str, data: dict[str, Any]) -> None:
        await session.execute(machine.EVENT, {"id": self.job, "kind": kind, "data": json.dumps(data)})


def read_events(stream: str) -> list[tuple[int, str, dict[str, Any]]]:
    """The events of a stream as (id, name, data)."""
    found = []
    for block in stream.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if "id" in lines:
            found.append((int(lines["id"]), lines["event"], json.loads(lines["data"])))
    return found


async def train(client: httpx.AsyncClient, body: dict[str, Any] = TRAIN, **headers: str) -> dict[str, Any]:
    """Ask for a job; as the service shows it then."""
    reply = await client.post("/v1/jobs", json=body, headers=headers)
    assert reply.status_code == 202, reply.text
    assert reply.headers["location"] == f"/v1/jobs/{reply.json()['id']}"
    assert int(reply.headers["retry-after"]) > 0
    job: dict[str, Any] = reply.json()
    return job


async def claim_job(services: Services, job: dict[str, Any]) -> Owner:
    """Who has taken it, as a worker does."""
    owner = Owner(services, uuid.UUID(job["id"]))
    await owner.claim()
    return owner
