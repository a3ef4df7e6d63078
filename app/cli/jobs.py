"""`vision jobs ...`: jobs listed, shown, followed, cancelled and retried."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from app.cli import figures, following, output
from app.cli.client import quoted
from app.cli.options import Json, Limit, Lines
from app.cli.output import format_time
from app.cli.session import Session, pass_session
from app.cli.waiting import describe_queue

app = typer.Typer(help="Long-running jobs: follow them, stop them, retry them.", no_args_is_help=True)
_Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, as list shows it.")]


@app.command("list")
@pass_session(Json)
def list_jobs(
    session: Session,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only queued, running, succeeded, failed or cancelled ones; may be repeated."),
    ] = None,
    limit: Limit = 20,
) -> None:
    """Show the newest jobs."""
    session.print_rows(
        session.service.get("/v1/jobs", limit=limit, state=state or None),
        {
            "id": "id",
            "state": _state,
            "what": lambda job: job["strategy"] or job["kind"],
            "of": lambda job: job["collection"] or job["dataset_name"] or job["dataset"] or "",
            "progress": _steps,
            "model": "model",
            "asked for": lambda job: format_time(job["created_at"]),
        },
        empty=f"No job is {' or '.join(state)}."
        if state
        else "There are no jobs: vision train --strategy NAME makes one",
    )


@app.command()
@pass_session(Json)
def show(session: Session, job: _Id) -> None:
    """Show one job with its evaluation and its files."""
    found = session.service.get(f"/v1/jobs/{quoted(job)}")
    waits = found["state"] == "queued" and not session.json
    before = describe_queue(session.service, found) if waits else ""
    session.print_result(found, partial(_print_job, before=before))


@app.command()
@pass_session(Lines)
def follow(session: Session, job: _Id) -> None:
    """Follow a job to its end; exit code 0 when it succeeded, 1 when it failed or was cancelled."""
    following.follow(session, session.service.get(f"/v1/jobs/{quoted(job)}"))


@app.command()
@pass_session(Json)
def cancel(session: Session, job: _Id) -> None:
    """Stop a job."""
    reply = session.service.call("POST", f"/v1/jobs/{quoted(job)}/cancel", again=True)
    session.print_result(reply, f"{job} is {'stopping' if reply['cancelling'] else reply['state']}")


@app.command()
@pass_session(Json)
def retry(session: Session, job: _Id) -> None:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
    reply = session.service.call("POST", f"/v1/jobs/{quoted(job)}/retry")
    session.print_result(reply, f"{job} is {reply['state']}")


def _print_job(job: dict[str, Any], before: str) -> None:
    output.print_facts(_facts(job) + ([("waits for", before)] if before else []))
    figures.show_comparison((job["result"] or {}).get("comparison"))
    output.print_table(
        ["file", "bytes"], ([file["name"], str(file["size"])] for file in job["artifacts"]), empty=""
    )


def _steps(job: dict[str, Any]) -> str:
    done = job["progress"]
    early = job["state"] == "succeeded" and done["step"] < done["of"]
    return f"{done['step']}/{done['of']}{', ended early' if early else ''}" if done["of"] else ""


def _state(job: dict[str, Any]) -> str:
    if job.get("served") is False:
        return f"{job['state']}, no worker for '{job['queue']}'"
    if job.get("not_before"):
        return f"{job['state']}, put off until {format_time(job['not_before'])}"
    return str(job["state"]) + (f", {job['phase']}" if job["phase"] else "")


def _facts(job: dict[str, Any]) -> list[tuple[str, str]]:
    found = job["metrics"] | _result(job) | job["metrics"]  # metrics stand first and count
    return [
        ("id", job["id"]),
        ("state", _state(job)),
        ("what", f"{job['kind']} {job['strategy'] or ''}".strip()),
        ("learns from", job["collection"] or job["dataset_name"] or job["dataset"] or ""),
        ("base model", job["base_model"] or ""),
        ("attempt", f"{job['attempt']} of {job['max_attempts']}"),
        ("progress", _steps(job)),
        ("asked for", format_time(job["created_at"])),
        ("started", format_time(job["started_at"])),
        ("ended", format_time(job["finished_at"])),
        ("model", job["model"] or ""),
        *((name, figures.number(value)) for name, value in found.items()),
        ("error", job["error"]["detail"] if job["error"] else ""),
    ]


def _result(job: dict[str, Any]) -> dict[str, Any]:
    """What is plain in the job's result, its evaluation first."""
    result = job["result"] or {}
    both = {**(result.get("evaluation") or {}), **result}
    return {name: value for name, value in both.items() if isinstance(value, int | float | str)}
