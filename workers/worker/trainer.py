"""The process that does a job's work: `python -m workers.worker.trainer TASK`, started afresh for every attempt."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from app.errors import OverloadedError, VisionError
from app.jobs.spec import Kind, Outcome
from app.storage import disk
from app.storage.failures import name_failure
from workers.shared.importing import importing
from workers.shared.method import StoppingError
from workers.shared.run import STOPPED, JobRun, Task
from workers.worker import handover, launching, liveness

_NICENESS = 10
_TRACE_LINES = 30
_MAX_DETAIL_LENGTH = 500
_PEERS = re.compile(r"gloo|nccl|by peer|broken pipe|TCPStore", re.IGNORECASE)
"""What ranks say that wait for one that is gone."""

KINDS: dict[Kind, str] = {
    "train": "workers.training.job:train",
    "prepare": "workers.datasets.job:prepare",
    "evaluate": "workers.evaluation.job:evaluate",
    "export": "workers.exporting.job:export",
    "reembed": "workers.reembedding.job:reembed",
    "teach": "workers.teaching.job:teach",
}
"""Kind of job -> the function that carries it out: takes the run, returns its outcome."""


def main(path: str) -> int:
    """Do the work that the file describes; the exit code: 0 done, 1 failed, 75 stopped on the way."""
    task = Task.model_validate_json(Path(path).read_text())
    settings = handover.take(Path(path).parent)
    liveness.watch(Path(task.heartbeat), settings.jobs.job_lease_s)
    os.nice(_NICENESS)  # requests come first where both share a machine
    try:
        run = JobRun(task, settings)
    except Exception as error:
        _tell_no_start(task, error)
        raise
    run.listen()
    warnings.simplefilter("ignore")  # libraries' remarks to programmers are not for a job's log
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # before it is imported, for the same reason
    try:
        run.phase("preparing")
        run.restore()
        module, _, name = KINDS[task.spec.kind].partition(":")
        with importing():
            work: Callable[[JobRun], Outcome] = getattr(import_module(module), name)
        outcome = work(run)
    except StoppingError:
        run.log("Stopping: the work goes on from the last checkpoint.")
        return STOPPED
    except Exception as error:
        if not isinstance(error, VisionError):  # those were foreseen, and say enough in a sentence
            for line in traceback.format_exc().splitlines()[-_TRACE_LINES:]:
                run.log(line)
        if run.rank != 0:
            traceback.print_exc()
        run.emit("error", **_describe_error(error, run.scratch))
        return 1
    run.emit("done", outcome=outcome.model_dump(mode="json"))
    return 0


def _tell_no_start(task: Task, error: Exception) -> None:
    failure = _no_room(error, Path(task.scratch))
    if failure is None:
        detail = f"Its worker cannot reach what jobs need: {type(error).__name__}: {error}"[
            :_MAX_DETAIL_LENGTH
        ]
        failure = {"code": "worker_failed", "detail": detail, "again": True}
    failure["event"] = "error"
    with open(task.events, "w") as pipe:
        pipe.write(json.dumps(failure) + "\n")


def _no_room(error: Exception, scratch: Path) -> dict[str, object] | None:
    """The same for a full disk or too many open files, which end by themselves: the job waits, uncharged."""
    if isinstance(error, DBAPIError):  # the database's disk is another one
        error = name_failure(error) or error
    named = disk.want_of_room(error, scratch, what=launching.JOB_FILES)
    if named is None and not isinstance(error, VisionError):  # whatever the library made of it
        is_full = disk.is_full(scratch)
        named = disk.full(scratch, what=launching.JOB_FILES) if is_full else disk.out_of_files()
    if named is None:
        return None
    return launching.wait_for_room(named)


def _describe_error(error: Exception, scratch: Path) -> dict[str, object]:
    """An error as the job's page shows it; `again` where another attempt may fare better."""
    if (failure := _no_room(error, scratch)) is not None:
        return failure
    if isinstance(error, VisionError):
        return {"code": error.code, "detail": error.detail, "again": isinstance(error, OverloadedError)}
    if isinstance(error, DBAPIError | OSError) and isinstance(named := name_failure(error), OverloadedError):
        return {"code": named.code, "detail": named.detail, "again": True}
    if isinstance(error, DBAPIError | ConnectionError):
        return {"code": "store_unavailable", "detail": "The database went away.", "again": True}
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        detail = (
            "The device ran out of memory: a smaller batch_size or gradient_checkpointing would need less."
        )
        return {"code": "out_of_memory", "detail": detail, "again": False}
    said = " ".join(str(error).split())[:_MAX_DETAIL_LENGTH]
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and _PEERS.search(said):
        return {"code": "rank_lost", "detail": "One of the job's processes was lost.", "again": True}
    return {
        "code": "training_failed",
        "detail": f"{type(error).__name__}: {said}" if said else type(error).__name__,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
