"""A job from here to its end: a live bar with the time left and the loss, or its events as JSON lines."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from app.cli import output
from app.cli.client import ServerEvent, Service
from app.cli.figures import is_unjudged, show_comparison
from app.cli.progress import ProgressLines, format_span
from app.cli.session import Session
from app.cli.waiting import describe_queue
from app.cli.wording import in_flags

_MAX_METRICS = 2
_JUDGED_BY = {
    "test": "of the test split",
    "validation": "held out, which it was also chosen by",
    "leave_one_out": "of its own, each left out of the head in turn",
}
_DULL = frozenset({"learning_rate"})
_FITTING = {"prepare": "checking", "teach": "learning", "reembed": "embedding"}
"""What the phase `fitting` is called of jobs that fit nothing, by kind."""
_COUNTING_PARTS = "export"
_COUNTING_IMAGES = frozenset({"prepare", "teach", "reembed", "evaluate"})
"""Kinds of jobs that count images; the others count steps, and images while they prepare and are judged."""


def follow(session: Session, job: dict[str, Any], *, said: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Show the job until it has ended, across broken connections, to programs as its events; the job as it is then.
    Lines that were `said` before are not shown to a person again.

    Ends the command with 1 unless the job succeeded. Raises UnreachableError when the service stays away for minutes.
    Ctrl-C ends the command, not the job.
    """
    return _follow(session, job, _JsonLines() if session.json else _ProgressBar(session, job, said))


def wait(session: Session, job: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """The same with nothing on standard output, where what the job leads to will stand; `quiet` says nothing at all."""
    return _follow(session, job, _NoProgress() if quiet else _ProgressBar(session, job, frozenset()))


def _follow(session: Session, job: dict[str, Any], shown: _NoProgress) -> dict[str, Any]:
    reached = JobProgress(job)
    try:
        with shown, ProgressLines(reached.describe, off=not isinstance(shown, _ProgressBar)):
            ended = _follow_to_end(session.service, job["id"], shown, reached)
    except KeyboardInterrupt:
        later = "goes on when the service runs again" if session.temporary else "goes on"
        flags = "".join(f" {flag}" for flag in session.flags)
        output.stop(
            f"{reached.describe()}. The job {later}: vision jobs follow {job['id']}{flags} shows it, vision jobs"
            f" cancel {job['id']}{flags} ends it"
        )
    if ended["state"] != "succeeded":
        reason = f": {in_flags(ended['error']['detail'])}" if ended.get("error") else ""
        what = "was cancelled" if ended["state"] == "cancelled" else "failed"
        output.fail(f"the job {what}{reason}", output.REFUSED)
    if ended.get("model"):
        session.say(f"Published the model '{ended['model']}'{_describe_judgement(ended)}")
    if not session.json:
        show_comparison((ended.get("result") or {}).get("comparison"))
    return ended


def _describe_judgement(job: dict[str, Any]) -> str:
    """What a training says of its model, and which examples that was found on."""
    found = (job.get("result") or {}).get("evaluation") or {}
    if is_unjudged(found):
        return f"; {found['evaluated_on']}"
    # of texts accuracy is another name of exact match; of labels that are answers, the accuracy is what counts
    for name in ("accuracy",) if "chance" in found else ("exact_match", "accuracy"):
        if isinstance(found.get(name), float):
            guessed = max((found[key] for key in ("chance", "commonest") if key in found), default=None)
            beside = "" if guessed is None else f" (guessing: {guessed:.3g})"
            which = _JUDGED_BY.get(str(found.get("evaluated_on")), "held out")
            figure = f"{name.replace('_', ' ')} {found[name]:.3g}"
            return f": {figure} on {found.get('examples')} {which}{beside}"
    return ""


class JobProgress:
    """How far a job is, by the events that came."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.kind = str(job.get("kind"))
        self.word = str(job.get("phase") or job["state"])
        self.step = self.of = 0
        self.eta_s: float | None = None
        self.metrics = ""
        self._metrics: dict[str, float] = {}
        self._phase = ""
        self._before: tuple[int, int] | None = None

    @property
    def unit(self) -> str:
        """What is counted: images, steps or parts of an export."""
        if self.kind == _COUNTING_PARTS:
            return "parts"
        images = self.kind in _COUNTING_IMAGES or self.word in ("preparing", "evaluating")
        return "images" if images else "steps"

    def event(self, name: str, data: dict[str, Any]) -> None:
        """Take in one event of the job."""
        if name == "progress":
            phase = str(data.get("phase") or "running")
            counted = (data.get("step") or 0, data.get("of") or 0)
            self.eta_s = data.get("eta_s")
            if phase != self._phase:
                # the first event of a phase repeats what was counted before it, but that of fitting, which begins at 0
                self._phase, self._before = phase, None if phase == "fitting" else counted
            self.word = _FITTING.get(self.kind, phase) if phase == "fitting" else phase
            self.step, self.of = (0, 0) if counted == self._before else counted
        elif name == "metric":
            # held-out figures come now and then: they stay beside the loss of every step
            self._metrics |= {key: value for key, value in data.get("values", {}).items() if key not in _DULL}
            first = sorted(self._metrics.items(), key=lambda pair: (pair[0] != "loss", "loss" in pair[0]))
            self.metrics = "  ".join(f"{key} {value:.4g}" for key, value in first[:_MAX_METRICS])
        elif name == "state":
            self.word, self._phase, self.eta_s = str(data.get("state", "")), "", None
            self.step = self.of = 0

    @property
    def format_time_left(self) -> str:
        """`1:05 left`; empty where that is not known."""
        return "" if self.eta_s is None else f"{format_span(self.eta_s)} left"

    def describe(self) -> str:
        """`fitting, 120 of 400 steps, 1:05 left, loss 0.53`."""
        counted = f"{self.step} of {self.of} {self.unit}" if self.of else ""
        return ", ".join(part for part in (self.word, counted, self.format_time_left, self.metrics) if part)


def _follow_to_end(service: Service, job_id: str, shown: _NoProgress, reached: JobProgress) -> dict[str, Any]:
    def take_in(event: ServerEvent) -> None:
        reached.event(event.name, event.data)
        shown.event(event.id, event.name, event.data, reached)

    job = service.follow(f"/v1/jobs/{job_id}", take_in, shown.report_broken_connection)
    shown.end(job)
    return job


class _NoProgress:
    """Shows nothing."""

    def __enter__(self) -> _NoProgress:
        return self

    def __exit__(self, *about: object) -> None:
        return

    def event(self, number: str, name: str, data: dict[str, Any], reached: JobProgress) -> None:
        """One event of the job, which `reached` has taken in."""

    def report_broken_connection(self) -> None:
        """The connection broke; the events go on where they stopped."""

    def end(self, job: dict[str, Any]) -> None:
        """The job has ended."""


class _JsonLines(_NoProgress):
    """Every event as one line of JSON on standard output."""

    def event(self, number: str, name: str, data: dict[str, Any], reached: JobProgress) -> None:
        """Print the event."""
        line = {"id": int(number), "event": name, **data}
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
        sys.stdout.flush()


class _ProgressBar(_NoProgress):
    """A bar on a terminal; elsewhere a line for each change of state and each log line, beside `ProgressLines`."""

    def __init__(self, session: Session, job: dict[str, Any], said: frozenset[str]) -> None:
        self._session, self._job = session, job
        self._said = said
        self._stack = ExitStack()
        self._said_broken = False
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TextColumn("{task.fields[eta]}"),
            TextColumn("{task.fields[metrics]}"),
            TimeElapsedColumn(),
            console=output.err,
            disable=not output.err.is_terminal,
        )
        self._task: TaskID = self._progress.add_task(
            str(job.get("phase") or job["state"]), total=None, unit="", eta="", metrics=""
        )

    def __enter__(self) -> _ProgressBar:
        self._stack.enter_context(self._progress)
        return self

    def __exit__(self, *about: object) -> None:
        self._stack.close()

    def event(self, number: str, name: str, data: dict[str, Any], reached: JobProgress) -> None:
        """Move the bar, or print a line above it."""
        self._said_broken = False
        if name == "progress":
            self._progress.update(
                self._task,
                description=reached.word,
                completed=reached.step,
                total=reached.of or None,
                unit=reached.unit,
                eta=reached.format_time_left,
            )
        elif name == "metric":
            self._progress.update(self._task, metrics=reached.metrics)
        elif name == "log" and data.get("line") not in self._said:
            self._say(in_flags(str(data.get("line", ""))))
        elif name == "state":
            before = describe_queue(self._session.service, self._job) if data.get("state") == "queued" else ""
            self._say(_state(data) + (f": {before}" if before else ""))
            self._progress.update(self._task, description=str(data.get("state", "")))

    def report_broken_connection(self) -> None:
        """Say once that the connection broke."""
        if not self._said_broken:
            self._say("The connection broke; trying again")
            self._said_broken = True

    def end(self, job: dict[str, Any]) -> None:
        """Fill the bar."""
        done = job["progress"]
        self._progress.update(
            self._task,
            description=job["state"],
            eta="",
            total=done["of"] or None,
            completed=done["of"] if job["state"] == "succeeded" else done["step"],
        )

    def _say(self, line: str) -> None:
        if line:
            self._progress.console.print(Text(line), soft_wrap=True)


def _state(data: dict[str, Any]) -> str:
    state = str(data.get("state", ""))
    if state == "running" and int(data.get("attempt") or 1) > 1:
        return f"running, attempt {data['attempt']}"
    error = data.get("error")
    detail = isinstance(error, dict) and error.get("detail")
    return f"{state}: {in_flags(str(detail))}" if detail else state
