"""A training on its way: asked for, followed to its end, its files saved; or left to itself.

Knows what happens around a job; what is trained, and on what, its callers say.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli import following, output, saving
from app.cli.client import Service


@dataclass(frozen=True)
class Ending:
    """What happens once a job is asked for."""

    detach: bool = False
    output_dir: Path | None = None
    force: bool = False
    json: bool = False
    said: frozenset[str] = frozenset()
    """Lines that the user has read already and that the job's log repeats."""


def check_detach(service: Service, ending: Ending) -> None:
    """End the command, before anything is sent, where nobody would be there to do what was asked for."""
    if ending.detach and ending.output_dir is not None:
        output.fail(
            "--detach does not wait for a model to save: leave out --output-dir, and save it later with"
            " vision models download",
            output.USAGE,
        )
    if ending.detach and service.temporary:
        output.fail(
            "--detach needs a service that goes on when this command ends: start one with `vision serve`",
            output.USAGE,
        )


def submitted(service: Service, body: dict[str, Any], ending: Ending) -> str | None:
    """Ask for a job, follow it to its end and save its files; the model's id, or None where nobody waits for it.

    Ends the command with 1 where the job did not succeed.
    """
    job = service.call(
        "POST", "/v1/jobs", json=body, headers={"Idempotency-Key": str(uuid.uuid4())}, again=True
    )
    if ending.detach:
        if ending.json:
            output.print_json(job)
        else:
            output.out.print(job["id"])
            output.say(f"Queued; vision jobs follow {job['id']}")
        return None
    if not ending.json:
        how, data = job["strategy"] or f"the method {job['method']}", job["collection"] or job["dataset"]
        output.say(f"Job {job['id']} trains by {how} on {data}")
    ended = following.follow(service, job, json=ending.json, said=ending.said)
    following.end(ended, json=ending.json)
    if ending.output_dir is not None:
        saving.save_artifacts(service, ended, ending.output_dir, force=ending.force)
    return ended["model"] and str(ended["model"])
