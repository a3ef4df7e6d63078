"""What a queued job waits for, read from the list of jobs."""

from __future__ import annotations

from itertools import islice
from typing import Any

from app.cli.client import RefusedError, Service, UnreachableError

_MAX_JOBS = 500
"""So many are looked at; more than wait anywhere."""


def describe_queue(service: Service, job: dict[str, Any]) -> str:
    """`1 job before it (custom_manyshot, 12/15)`: what runs in the job's queue and what has waited there for longer.

    Empty where nothing is before it, where it runs meanwhile, and where the service does not say.
    """
    try:
        found = list(islice(service.pages("/v1/jobs", state=["running", "queued"], limit=100), _MAX_JOBS))
    except (RefusedError, UnreachableError):
        return ""
    if any(other["id"] == job["id"] and other["state"] == "running" for other in found):
        return ""
    before = [
        other
        for other in found
        if other["queue"] == job["queue"]
        and other["id"] != job["id"]
        and (other["state"] == "running" or other["created_at"] < job["created_at"])
    ]
    if not before:
        return ""
    running = [_describe(other) for other in before if other["state"] == "running"]
    what = f" ({'; '.join(running)})" if running else ""
    return f"{len(before)} job{'' if len(before) == 1 else 's'} before it{what}"


def _describe(job: dict[str, Any]) -> str:
    done = job["progress"]
    steps = f", {done['step']}/{done['of']}" if done["of"] else ""
    return f"{job['strategy'] or job['method'] or job['kind']}{steps}"
