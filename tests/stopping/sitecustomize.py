"""On `PYTHONPATH`, this makes a training process stop (SIGSTOP) at the places that `TEST_STOP_AT` names.

They are divided by commas, and each counts once in a process: a phase or the first `step`, as soon as it was told of;
the first `checkpoint`, once it was announced. `@` and a number behind it leave the place to the attempt of that fence.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from workers.shared.run import JobRun

_phase, _step, _checkpoint = JobRun.phase, JobRun.step, JobRun.checkpoint
_left = set(os.environ.get("TEST_STOP_AT", "").split(","))


def _stop_at(run: JobRun, place: str) -> None:
    due = {place, f"{place}@{run.task.fence}"} & _left
    if not due:
        return
    _left.difference_update(due)
    # or the alarm of workers.worker.liveness, which sets it anew each second, would end the process when it goes on
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.kill(os.getpid(), signal.SIGSTOP)


def _tell_phase(run: JobRun, name: str) -> None:
    _phase(run, name)
    _stop_at(run, name)


def _tell_step(run: JobRun, step: int, of: int, **metrics: float) -> None:
    _step(run, step, of, **metrics)
    _stop_at(run, "step")


def _announce(
    run: JobRun, step: int, write: Callable[[Path], None], lent: Mapping[str, str] | None = None
) -> None:
    _checkpoint(run, step, write, lent)
    _stop_at(run, "checkpoint")


setattr(JobRun, "phase", _tell_phase)  # noqa: B010 - a method, to a type checker
setattr(JobRun, "step", _tell_step)  # noqa: B010
setattr(JobRun, "checkpoint", _announce)  # noqa: B010
