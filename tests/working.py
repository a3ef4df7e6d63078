"""A worker in this process: jobs that were queued over HTTP are carried out by the real supervisor and its child.

Knows the supervisor, and the child's work without the child; knows nothing of what jobs do. Brokers and worker
processes are tests/faults' business.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from app.bootstrap import Services
from app.jobs.spec import JobSpec, Outcome
from tests.forked_jobs import fork_jobs_of, jobs_as_forks
from tests.forks import wait_for_forks
from tests.jobs import Owner
from workers.shared.run import JobRun, Task
from workers.worker import launching
from workers.worker.supervisor import supervise

fork_jobs_of(launching)


async def run_job(services: Services, client: httpx.AsyncClient, job: str) -> dict[str, Any]:
    """Run the job's next attempt to its end, its process a fork (tests/forks.py); the job as clients see it then."""
    # waited for before the job is claimed: nobody renews its lease until its process is there
    env = launching._environment(services.settings, alone=True)
    await asyncio.to_thread(wait_for_forks, "job", env)
    with jobs_as_forks():
        await asyncio.to_thread(
            supervise, uuid.UUID(job), services.settings, services.addresses, threading.Event()
        )
    reply = await client.get(f"/v1/jobs/{job}")
    found: dict[str, Any] = reply.json()
    return found


async def run_work(
    services: Services, owner: Owner, scratch: Path, work: Callable[[JobRun], Outcome]
) -> Outcome:
    """What `work` makes of a claimed job in a thread of this process; what it tells goes nowhere."""
    await asyncio.to_thread(scratch.mkdir)
    task = Task(
        job=owner.job,
        workspace=owner.row["workspace"],
        fence=owner.fence,
        attempt=1,
        spec=JobSpec.model_validate(owner.row["spec"]),
        events=str(scratch / "events"),
        heartbeat="",
        scratch=str(scratch),
    )
    settings = services.settings.replace(database_url=services.addresses.database_url)
    run = JobRun(task, settings)
    try:
        return await asyncio.to_thread(work, run)
    finally:
        run.close()
