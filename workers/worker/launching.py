"""How the process that does a job's work is started and ended, and the folder it works in."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

from app.embedded import Addresses
from app.errors import VisionError
from app.inference import device as devices
from app.settings import Settings
from workers.shared.store import LeasedJob
from workers.worker import handover

HEARTBEAT = "heartbeat"
"""File of an attempt's folder that is written anew with each renewed lease."""
JOB_FILES = "jobs' files"
"""What is said to lie on a disk that is full."""
_LEFT_BEHIND_LEASES = 10
_RANKS = {"OMP_NUM_THREADS": "1"}
"""Or torchrun sets it and says so; each rank takes its share of the cores later."""


def wait_for_room(error: VisionError) -> dict[str, Any]:
    """The event of an attempt that a full disk or too many open files ended: the job waits, uncharged."""
    return {"code": error.code, "detail": error.detail, "again": True, "wait": True}


def folder_of(job: LeasedJob, settings: Settings) -> Path:
    """Where an attempt keeps its files on this machine; the folder is not made."""
    return _scratch(settings) / f"{job.id}-{job.fence}"


def clear(settings: Settings) -> None:
    """Remove folders that killed supervisors left: no lease of theirs was renewed for long."""
    oldest = time.time() - _LEFT_BEHIND_LEASES * settings.jobs.job_lease_s
    for beat in _scratch(settings).glob(f"*/{HEARTBEAT}"):
        with contextlib.suppress(FileNotFoundError):
            if beat.stat().st_mtime < oldest:
                shutil.rmtree(beat.parent, ignore_errors=True)


def start(
    job: LeasedJob, settings: Settings, addresses: Addresses, task: Path
) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """The process, in a group of its own, and what it prints, which can be read without waiting; its standard input
    ends with this process. What is secret it finds in a file beside the task.
    """
    command = _launcher(job, settings)
    handover.confide(task.parent, job.spec, settings, addresses.database_url, os.environ)
    child = subprocess.Popen(
        [*command, "-m", "workers.worker.trainer", str(task)],
        stdin=subprocess.PIPE,  # never written to: its end tells the child that this process is gone
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(settings, alone=command == [sys.executable]),
        start_new_session=True,
        cwd=task.parent,
    )
    output = cast(IO[bytes], child.stdout)  # a pipe was asked for
    os.set_blocking(output.fileno(), False)
    return child, output


def stop(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ask the process to end, and wait for so long that it does."""
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_s)


def kill(child: subprocess.Popen[bytes]) -> None:
    """End the process and everything it started."""
    if child.stdin is not None:
        child.stdin.close()  # ranks in sessions of their own see this
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def reason(code: int) -> str:
    """Why a process ended without reporting an error, from its exit code."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
        return f"Its process was killed by {name}{hint}."
    return f"Its process ended with code {code} before it was done."


def _scratch(settings: Settings) -> Path:
    return (settings.jobs.scratch_dir or settings.server.data_dir / "scratch").expanduser().resolve()


def _launcher(job: LeasedJob, settings: Settings) -> list[str]:
    """Python itself for one process, torchrun for several."""
    ranks, nodes = int(job.spec.params.get("processes") or 1), int(job.spec.params.get("nodes") or 1)
    if ranks * nodes == 1:
        return [sys.executable]
    where = ["--standalone"]
    if nodes > 1:
        where = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-id", f"{job.id}-{job.fence}"]
        where += ["--rdzv-endpoint", settings.jobs.rendezvous or "127.0.0.1:29400"]
    return [sys.executable, "-m", "torch.distributed.run", *where, "--nproc-per-node", str(ranks)]


def _environment(settings: Settings, *, alone: bool) -> dict[str, str]:
    """What training needs of this process's, with every setting that is no secret as this worker has it; `alone` says
    that one process does the work.
    """
    place = devices.parse(settings.models.device)
    return {
        **handover.public_environment(settings, os.environ),
        "VISION_DATA_DIR": str(settings.server.data_dir.expanduser().resolve()),
        "PYTHONUNBUFFERED": "1",
        # threads that wait by spinning take the cores that others need: where a service and a job, or two jobs, share a
        # machine, a step would take ten times as long
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "1"),
        "TOKENIZERS_PARALLELISM": "false",
        **({"DS_ACCELERATOR": "cpu"} if place.kind == "cpu" else {}),
        **({} if alone else _RANKS),
        **(_device_environment(place.index, os.environ) if alone and place.kind == "cuda" else {}),
    }


def _device_environment(index: int, environ: Mapping[str, str]) -> dict[str, str]:
    """Let a single process see its own GPU alone: libraries take the first that they see for theirs, or all of them."""
    visible = environ.get("CUDA_VISIBLE_DEVICES", "")
    chosen = [word.strip() for word in visible.split(",")][index] if visible else str(index)
    return {"CUDA_VISIBLE_DEVICES": chosen, "VISION_DEVICE": "cuda:0"}
