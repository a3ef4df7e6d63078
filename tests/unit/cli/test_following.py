"""Following a job from the command line: every event once, across broken connections, to the right exit code."""

from __future__ import annotations

import itertools
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from app.cli import following
from app.cli.client import RefusedError
from app.cli.session import Session
from llamafarm_vision import flows, transports
from tests.scripted import Answer, Scripted, serving

server = pytest.fixture(serving)

JOB = {"id": "j1", "state": "running", "phase": None, "progress": {"step": 0, "of": 0, "eta_s": None}}
DONE = {
    **JOB,
    "state": "succeeded",
    "progress": {"step": 2, "of": 2, "eta_s": 0},
    "model": "m",
    "error": None,
}
STREAM = {"Content-Type": "text/event-stream"}


def event(number: int, name: str, **data: Any) -> str:
    return f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n"


def stream(*events: str, broken: bool = False) -> Answer:
    body = ": still here\n\n" + "".join(events)
    return 200, {**STREAM, **({"Content-Length": str(len(body) + 9)} if broken else {})}, body.encode()


def answer(job: dict[str, Any]) -> Answer:
    return 200, {}, json.dumps(job).encode()


def test_a_broken_stream_goes_on_after_the_last_event(
    server: Scripted, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=pauses.append)
    monkeypatch.setattr(transports, "time", clock)
    server.answers = [
        stream(event(3, "state", state="running"), event(4, "progress", step=1, of=2), broken=True),
        (503, {"Retry-After": "1"}, b"{}"),
        stream(event(7, "metric", step=2, values={"loss": 0.5})),  # ended without the job having ended
        answer(JOB),
        stream(event(9, "state", state="succeeded")),
        answer(DONE),
    ]
    with Session(server.url, json=True) as session:
        assert following.follow(session, JOB) == DONE
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["id"], line["event"]) for line in lines] == [
        (3, "state"),
        (4, "progress"),
        (7, "metric"),
        (9, "state"),
    ]
    seen = [header.get("Last-Event-ID") for header in server.headers]
    assert seen == [None, "4", "4", None, "7", None]
    assert max(pauses) >= 1  # as it was told to


def test_a_job_that_is_quiet_for_long_is_not_a_service_that_is_away(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at the clock is most of the patience later than the one before."""
    later = itertools.count(0, flows.PATIENCE_SECONDS * 0.9)
    clock = SimpleNamespace(monotonic=lambda: float(next(later)), sleep=lambda _: None)
    monkeypatch.setattr(flows, "time", clock)
    monkeypatch.setattr(transports, "time", clock)
    server.answers = [
        stream(broken=True),
        stream(broken=True),
        stream(event(1, "state", state="succeeded")),
        answer(DONE),
    ]
    with Session(server.url) as session:
        assert following.wait(session, JOB, quiet=True) == DONE


def test_a_person_reads_states_and_log_lines(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {**DONE, "state": "failed", "error": {"detail": "Every image is the same."}}
    server.answers = [
        stream(
            event(1, "state", state="running", attempt=2),
            event(2, "log", line="ten examples [bold]here[/bold]"),
            event(3, "progress", step=1, of=2, eta_s=65.0, phase="fitting"),
            event(4, "metric", step=1, values={"loss": 0.123456}),
            event(5, "state", state="failed", error={"code": "x", "detail": "Every image is the same."}),
        ),
        answer(failed),
    ]
    with pytest.raises(typer.Exit) as end, Session(server.url) as session:
        following.follow(session, JOB)
    assert end.value.exit_code == 1
    said = capsys.readouterr().err
    assert "running, attempt 2" in said
    assert "ten examples [bold]here[/bold]" in said
    assert "the job failed: Every image is the same." in said


def test_what_a_phase_counts_is_said_of_it_alone() -> None:
    """Of a job's progress the newest event alone is kept: the first of a phase may be one that was read too late."""
    reached = following.JobProgress({**JOB, "kind": "train"})

    def said(**data: Any) -> str:
        reached.event("progress", data)
        return reached.describe()

    assert (
        said(phase="fitting", step=1200, of=100_000, eta_s=700.0)
        == "fitting, 1200 of 100000 steps, 11:40 left"
    )
    reached.event("state", {"state": "running"})
    assert said(phase="fitting", step=1, of=100_000, eta_s=None) == "fitting, 1 of 100000 steps"
    assert said(phase="evaluating", step=1, of=100_000, eta_s=None) == "evaluating"
    assert said(phase="evaluating", step=3, of=30, eta_s=None) == "evaluating, 3 of 30 images"
    assert said(phase="saving", step=100_000, of=100_000, eta_s=None) == "saving"


def test_a_queued_job_says_what_is_before_it(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    def other(name: str, state: str, at: str, queue: str = "cpu") -> dict[str, Any]:
        progress = {"step": 12, "of": 15 if state == "running" else 0}
        known = {"strategy": name, "method": None, "kind": "train", "created_at": at, "queue": queue}
        return {**known, "id": name, "state": state, "progress": progress}

    mine = {**other("mine", "queued", "2026-01-02"), "id": "j1"}
    ahead = [other("custom_manyshot", "running", "2026-01-01"), other("early", "queued", "2026-01-01")]
    others = [
        *ahead,
        other("late", "queued", "2026-01-03"),
        other("elsewhere", "running", "2026-01-01", "gpu"),
    ]
    for listed, says in (
        ([mine, *others], "queued: 2 jobs before it (custom_manyshot, 12/15)\n"),
        ([mine, others[0]], "queued: 1 job before it (custom_manyshot, 12/15)\n"),
        ([mine, others[2]], "queued\n"),
        ([{**mine, "state": "running"}, others[0]], "queued\n"),
    ):
        server.answers = [
            stream(event(1, "state", state="queued")),
            answer({"data": listed, "next": None}),
            answer(DONE),
        ]
        with Session(server.url) as session:
            following.follow(session, mine)
        assert capsys.readouterr().err.startswith(says)


def test_a_job_that_is_not_there_is_not_waited_for(server: Scripted) -> None:
    server.answers = [(404, {}, b'{"detail": "There is no such job."}')]
    session = Session(server.url)
    with pytest.raises(RefusedError, match="no such job"):
        following.wait(session, JOB, quiet=True)
    session.service.close()
