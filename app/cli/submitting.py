"""Submits a training, follows it to its end and saves its files, or detaches."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli import following, output, saving
from app.cli.next_steps import TrainingSource, after_training, say
from app.cli.session import Session


@dataclass(frozen=True)
class SubmitOptions:
    """What to do after a job was submitted."""

    detach: bool = False
    output_dir: Path | None = None
    force: bool = False
    source: TrainingSource | None = None
    """Used to print the next commands."""
    printed: frozenset[str] = frozenset()
    """Lines that were printed already; the job's log repeats them."""


def check_detach(session: Session, options: SubmitOptions) -> None:
    """End the command, before anything is sent, where nobody would be there to do what was asked for."""
    if options.detach and options.output_dir is not None:
        output.fail(
            "--detach does not wait for a model to save: leave out --output-dir, and save it later with"
            " vision models download",
            output.USAGE,
        )
    if options.detach and session.temporary:
        output.fail(
            "--detach needs a service that goes on when this command ends: start one with `vision serve`",
            output.USAGE,
        )


def check_request(session: Session, body: dict[str, Any]) -> None:
    """End the command, before anything is sent, for what the job would be refused for whatever it learns from."""
    session.service.call("POST", "/v1/jobs/check", json=body, again=True)


def train_and_save(session: Session, body: dict[str, Any], options: SubmitOptions) -> None:
    """As `submit`, and say what comes next."""
    job = submit(session, body, options)
    if job is not None:
        say_next(session, job, options)


def say_next(session: Session, job: dict[str, Any], options: SubmitOptions) -> None:
    """Print the commands for a job's model, unless only JSON is wanted."""
    if job.get("model") and not session.json:
        after_training(
            session, job, str(job["model"]), options.output_dir, options.source or TrainingSource()
        )


def submit(session: Session, body: dict[str, Any], options: SubmitOptions) -> dict[str, Any] | None:
    """Ask for a job, follow it to its end and save its files; the ended job, or None where nobody waits for it.

    Ends the command with 1 where the job did not succeed.
    """
    job = session.service.call(
        "POST", "/v1/jobs", json=body, headers={"Idempotency-Key": str(uuid.uuid4())}, again=True
    )
    if options.detach:
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
    ended = following.follow(session, job, said=options.printed)
    if options.output_dir is not None:
        saving.save_artifacts(session.service, ended, options.output_dir, force=options.force)
    return ended


def _describe_data(job: dict[str, Any]) -> str:
    question = (job.get("params") or {}).get("question")
    if question:
        return f'labels, as answers to "{question}"'
    return {"classification": "labels", "vqa": "answers"}.get(job["task"], "captions")
