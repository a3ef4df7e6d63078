"""`vision jobs ...`: long work, listed, looked at, followed, stopped and tried again.

Knows addresses and how rows read; what a job does is the service's business.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli import figures, following, output
from app.cli.client import Service, connect
from app.cli.collections import quoted
from app.cli.options import ApiKey, DataDir, Json, Server

app = typer.Typer(help="Long work: follow it, stop it, try it again.", no_args_is_help=True)
_Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, as list shows it.")]


@app.command("list")
def list_jobs(
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only queued, running, succeeded, failed or cancelled ones; may be repeated."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most rows.")] = 20,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Show the newest jobs."""
    with connect(server, api_key, data_dir) as service:
        query = {"limit": limit, **({"state": state} if state else {})}
        page = service.call("GET", "/v1/jobs", params=query, again=True)
    if json:
        output.print_json(page)
        return
    output.print_table(
        ["id", "state", "what", "of", "progress", "model", "asked for"],
        (
            [
                job["id"],
                _state(job),
                job["strategy"] or job["kind"],
                job["collection"] or job["dataset"] or "",
                _steps(job),
                job["model"] or "",
                _time(job["created_at"]),
            ]
            for job in page["data"]
        ),
        empty=f"No job is {' or '.join(state)}."
        if state
        else "There are no jobs: vision train --strategy NAME makes one",
    )


@app.command()
def show(
    job: _Id, server: Server = None, api_key: ApiKey = None, data_dir: DataDir = None, json: Json = False
) -> None:
    """Show one job with its evaluation and its files."""
    with connect(server, api_key, data_dir) as service:
        found = service.call("GET", f"/v1/jobs/{quoted(job)}", again=True)
    if json:
        output.print_json(found)
        return
    output.print_table(["", ""], _facts(found), empty="")
    output.print_table(
        ["file", "bytes"], ([one["name"], str(one["size"])] for one in found["artifacts"]), empty=""
    )


@app.command()
def follow(
    job: _Id,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the job's events, one line of JSON each.")
    ] = False,
) -> None:
    """Follow a job to its end; exit code 0 when it succeeded, 1 when it failed or was cancelled."""
    with connect(server, api_key, data_dir) as service:
        ended = following.follow(service, _found(service, job), json=json)
    following.end(ended, json=json)


@app.command()
def cancel(
    job: _Id, server: Server = None, api_key: ApiKey = None, data_dir: DataDir = None, json: Json = False
) -> None:
    """Stop a job."""
    with connect(server, api_key, data_dir) as service:
        reply = service.call("POST", f"/v1/jobs/{quoted(job)}/cancel", again=True)
    if json:
        output.print_json(reply)
    else:
        output.say(f"{job} is {'stopping' if reply['cancelling'] else reply['state']}")


@app.command()
def retry(
    job: _Id, server: Server = None, api_key: ApiKey = None, data_dir: DataDir = None, json: Json = False
) -> None:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
    with connect(server, api_key, data_dir) as service:
        reply = service.call("POST", f"/v1/jobs/{quoted(job)}/retry")
    if json:
        output.print_json(reply)
    else:
        output.say(f"{job} is {reply['state']}")


def _found(service: Service, job: str) -> dict[str, Any]:
    found: dict[str, Any] = service.call("GET", f"/v1/jobs/{quoted(job)}", again=True)
    return found


def _steps(job: dict[str, Any]) -> str:
    done = job["progress"]
    early = job["state"] == "succeeded" and done["step"] < done["of"]
    return f"{done['step']}/{done['of']}{', ended early' if early else ''}" if done["of"] else ""


def _time(moment: str | None) -> str:
    return (moment or "")[:19].replace("T", " ")


def _state(job: dict[str, Any]) -> str:
    if job.get("served") is False:
        return f"{job['state']}, no worker for '{job['queue']}'"
    if job.get("not_before"):
        return f"{job['state']}, put off until {_time(job['not_before'])}"
    return str(job["state"]) + (f", {job['phase']}" if job["phase"] else "")


def _facts(job: dict[str, Any]) -> list[list[str]]:
    rows = [
        ["id", job["id"]],
        ["state", _state(job)],
        ["what", f"{job['kind']} {job['strategy'] or ''}".strip()],
        ["learns from", job["collection"] or job["dataset"] or ""],
        ["base model", job["base_model"] or ""],
        ["attempt", f"{job['attempt']} of {job['max_attempts']}"],
        ["progress", _steps(job)],
        ["asked for", _time(job["created_at"])],
        ["started", _time(job["started_at"])],
        ["ended", _time(job["finished_at"])],
        ["model", job["model"] or ""],
        *([name, figures.number(value)] for name, value in job["metrics"].items()),
        *(
            [name, figures.number(value)]
            for name, value in _result(job).items()
            if name not in job["metrics"]
        ),
        ["error", job["error"]["detail"] if job["error"] else ""],
    ]
    return [row for row in rows if row[1]]


def _result(job: dict[str, Any]) -> dict[str, Any]:
    """What is plain in the job's result, its evaluation first."""
    result = job["result"] or {}
    both = {**(result.get("evaluation") or {}), **result}
    return {name: value for name, value in both.items() if isinstance(value, int | float | str)}
