"""A worker in this process: jobs that were queued over HTTP are carried out by the real supervisor and its child.

Knows the supervisor; knows nothing of what jobs do. Brokers and worker processes are tests/faults' business.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from typing import Any

import httpx

from app.services import Services
from workers.supervisor import supervise


async def carried_out(services: Services, client: httpx.AsyncClient, job: str) -> dict[str, Any]:
    """Run the job's next attempt to its end; the job as clients see it then."""
    await asyncio.to_thread(
        supervise, uuid.UUID(job), services.settings, services.addresses, threading.Event()
    )
    reply = await client.get(f"/v1/jobs/{job}")
    found: dict[str, Any] = reply.json()
    return found
