"""A training on its way: asked for, followed to its end, its files saved; or left to itself."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli import following, output, saving
from app.cli.next_steps import TrainingSource, after_training, say
from app.cli.session import Session


@dataclass(frozen=True)
class Ending:
    """What happens once a job is asked for."""

    detach: bool = False
    output_dir: Path | None = None
    force: bool = False
    source: TrainingSource | None = None
    """What the next commands are made of."""
    printed: frozenset[str] = frozenset()
    """Lines that the user has read already and that the job's log repeats."""


def check_detach(session: Session, ending: Ending) -> None:
    """End the command, before anything is sent, where nobody would be there to do what was asked for."""
    if ending.detach and ending.output_dir is not None:
        output.fail(
            "--detach does not wait for a model to save: leave out --output-dir, and save it later with"
            " vision models download",
            output.USAGE,
        )
    if ending.detach and session.temporary:
        output.fail(
            "--detach needs a service that goes on when this command ends: start one with `vision serve`",
            output.USAGE,
        )


def check_request(session: Session, body: dict[str, Any]) -> None:
    """End the command, before anything is sent, for what the job would be refused for whatever it learns from."""
    session.service.call("POST", "/v1/jobs/check", json=body, again=True)


def train_and_save(session: Session, body: dict[str, Any], ending: Ending) -> None:
    """As `submit`, and say what comes next."""
    job = submit(session, body, ending)
    if job is not None:
        say_next(session, job, ending)


def say_next(session: Session, job: dict[str, Any], ending: Ending) -> None:
    """Print the commands for a job's model, unless only JSON is wanted."""
    if job.get("model") and not session.json:
        after_training(session, job, str(job["model"]), ending.output_dir, ending.source or TrainingSource())


def submit(session: Session, body: dict[str, Any], ending: Ending) -> dict[str, Any] | None:
    """Ask for a job, follow it to its end and save its files; the ended job, or None where nobody waits for it.

    Ends the command with 1 where the job did not succeed.
    """
    job = session.service.call(
        "POST", "/v1/jobs", json=body, headers={"Idempotency-Key": str(uuid.uuid4())}, again=True
    )
    if ending.detach:
        if session.json:
            output.print_json(job)
        else:
            output.out.print(job["id"])
            output.say("Queued")
            say(session, [["jobs", "follow", str(job["id"])]])
        return None
    how, data = job["strategy"] or f"the method {job['method']}", job["collection"] or job["dataset"]
    session.say(
        f"Job {job['id']} trains {job['base_model']} by {how} on {data}: it learns {_describe_data(job)}"
    )
    ended = following.follow(session, job, said=ending.printed)
    if ending.output_dir is not None:
        saving.save_artifacts(session.service, ended, ending.output_dir, force=ending.force)
    return ended


def _describe_data(job: dict[str, Any]) -> str:
    question = (job.get("params") or {}).get("question")
    if question:
        return f'labels, as answers to "{question}"'
    return {"classification": "labels", "vqa": "answers"}.get(job["task"], "captions")
