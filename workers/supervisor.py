"""Carries a job through one attempt: claims it, starts the process that does the work, and stays its only voice.

Knows leases, processes, signals and pipes; imports nothing that trains. The child does the work and tells; only
what this writes counts, and only while the lease holds.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.embedded import Addresses
from app.errors import VisionError
from app.files import FileStore
from app.inference import device as devices
from app.settings import Settings
from app.training.spec import Checkpoint, Outcome
from workers import liveness
from workers.store import Claimed, JobStore, LostError, OwnedJob, worker_engine

_TICK_S = 0.1
_RETRY_S = 1.0
_CANCEL_GRACE_S = 1.5
_MOST_WAITING = 10_000
_LOG_WAVE = 200
_READ = 1 << 16

log = structlog.get_logger("workers")

Republish = Callable[[uuid.UUID], None]


def supervise(
    job_id: uuid.UUID,
    settings: Settings,
    addresses: Addresses,
    draining: threading.Event,
    *,
    republish: Republish | None = None,
) -> None:
    """Run one attempt of the job, if it is there to be claimed; returns when the attempt is over, however it went.

    `draining` asks to stop at the next checkpoint and to give the job back; `republish` tells other workers of a
    job that was given back.
    """
    if draining.is_set():
        return
    engine = worker_engine(addresses.database_url)
    try:
        store = JobStore(engine, lease_s=settings.job_lease_s, log_lines=settings.job_log_lines)
        began = time.monotonic()
        owned = store.claim(job_id, f"{socket.gethostname()}:{os.getpid()}")
        if owned is None:
            return
        attempt = _Attempt(owned, settings, addresses, draining, leased_until=began + settings.job_lease_s)
        try:
            again = attempt.run()
        finally:
            attempt.clean_up()
        if again and republish is not None:
            republish(job_id)
    except SQLAlchemyError as error:
        log.warning("the database is away: the job is left to the sweeper", reason=type(error).__name__)
    finally:
        engine.dispose()


class _Attempt:
    """One child, from its start to what is made of its end."""

    def __init__(
        self,
        owned: OwnedJob,
        settings: Settings,
        addresses: Addresses,
        draining: threading.Event,
        *,
        leased_until: float,
    ) -> None:
        self._owned = owned
        self._job: Claimed = owned.claimed
        self._settings = settings
        self._addresses = addresses
        self._draining = draining
        self._leased_until = leased_until
        base = (settings.scratch_dir or settings.data_dir / "scratch").expanduser().resolve()
        self._scratch = base / f"{self._job.id}-{self._job.fence}"
        self._heartbeat = self._scratch / "heartbeat"
        self._waiting: deque[dict[str, Any]] = deque()
        self._partial: dict[int, bytes] = {}
        self._cancelled = False
        self._lost = False
        self._outcome: Outcome | None = None
        self._error: dict[str, Any] | None = None
        self._previous: Checkpoint | None = self._job.checkpoint

    def run(self) -> bool:
        """The attempt; whether the job waits for a worker again."""
        self._scratch.mkdir(parents=True, mode=0o700)
        liveness.beat(self._heartbeat)
        events = self._scratch / "events"
        os.mkfifo(events, 0o600)
        pipe = os.open(events, os.O_RDONLY | os.O_NONBLOCK)
        try:
            child = self._start(events)
            try:
                self._follow(child, pipe)
            finally:
                _kill(child)
            self._read(pipe)
            self._read_output(child)
            if child.stdout is not None:
                child.stdout.close()
        finally:
            os.close(pipe)
        return self._conclude(child.returncode)

    def clean_up(self) -> None:
        """Remove what lies on this machine; checkpoints of a job that has ended go from the store, too."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _start(self, events: Path) -> subprocess.Popen[bytes]:
        job = self._job
        task = {
            "job": str(job.id),
            "workspace": job.workspace,
            "fence": job.fence,
            "attempt": job.attempt,
            "spec": job.spec.model_dump(mode="json"),
            "checkpoint": None if job.checkpoint is None else job.checkpoint.model_dump(),
            "events": str(events),
            "heartbeat": str(self._heartbeat),
            "scratch": str(self._scratch),
        }
        file = self._scratch / "task.json"
        file.write_text(json.dumps(task))
        child = subprocess.Popen(
            [*_launcher(job, self._settings), "-m", "workers.trainer", str(file)],
            stdin=subprocess.PIPE,  # never written to: its end tells the child that this process is gone
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(self._settings, self._addresses),
            start_new_session=True,
            cwd=self._scratch,
        )
        if child.stdout is not None:
            os.set_blocking(child.stdout.fileno(), False)
        return child

    def _follow(self, child: subprocess.Popen[bytes], pipe: int) -> None:
        """Until the child has ended, or is no longer wanted."""
        settings = self._settings
        heartbeat = look = 0.0
        drained_at: float | None = None
        while child.poll() is None:
            time.sleep(_TICK_S)
            now = time.monotonic()
            self._read(pipe)
            self._read_output(child)
            if now >= self._leased_until:
                self._lost = True  # the database was away for a lease: another worker may own the job by now
            try:
                if now >= heartbeat:
                    heartbeat = now + _RETRY_S
                    self._cancelled |= self._owned.renew()
                    self._leased_until = now + settings.job_lease_s
                    liveness.beat(self._heartbeat)
                    heartbeat = now + settings.job_heartbeat_s
                if now >= look:
                    look = now + settings.job_cancel_poll_s
                    self._cancelled |= self._owned.cancel_asked()
                self._flush()
            except LostError:
                self._lost = True
            except SQLAlchemyError as error:
                log.warning("the database is away", job=str(self._job.id), reason=type(error).__name__)
            if self._lost:
                return
            if self._cancelled:
                self._ask_to_stop(child, _CANCEL_GRACE_S)
                return
            if self._draining.is_set():
                if drained_at is None:
                    drained_at = now
                    child.terminate()
                elif now - drained_at > settings.job_stop_grace_s:
                    return

    def _ask_to_stop(self, child: subprocess.Popen[bytes], grace_s: float) -> None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace_s)

    def _read(self, pipe: int) -> None:
        """Whole events from the pipe."""
        for line in self._lines(pipe):
            try:
                event = json.loads(line)
            except ValueError:
                continue  # cut short by the end of its writer
            if event["event"] == "done":
                self._outcome = Outcome.model_validate(event["outcome"])
            elif event["event"] == "error":
                self._error = event
            else:
                self._wait(event)

    def _read_output(self, child: subprocess.Popen[bytes]) -> None:
        """What the child printed becomes its log."""
        if child.stdout is not None:
            for line in self._lines(child.stdout.fileno()):
                if text := line.decode(errors="replace").replace("\0", "").rstrip():
                    self._wait({"event": "log", "line": text[:2_000]})

    def _lines(self, handle: int) -> list[bytes]:
        pieces = [self._partial.pop(handle, b"")]
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(handle, _READ):
                pieces.append(piece)
        *whole, rest = b"".join(pieces).split(b"\n")
        if rest:
            self._partial[handle] = rest
        return whole

    def _wait(self, event: dict[str, Any]) -> None:
        """Keep an event until the database has it; of progress only the newest matters."""
        if len(self._waiting) < _MOST_WAITING or event["event"] == "checkpoint":
            self._waiting.append(event)

    def _flush(self) -> None:
        while self._waiting:
            event = self._waiting[0]
            kind = event["event"]
            if kind == "log":
                lines = [one["line"] for one in list(self._waiting)[:_LOG_WAVE] if one["event"] == "log"]
                count = next(
                    (i for i, one in enumerate(self._waiting) if one["event"] != "log"), len(self._waiting)
                )
                lines = lines[:count]
                self._owned.log(lines)
                for _ in lines:
                    self._waiting.popleft()
                continue
            if kind == "progress":
                self._owned.report(
                    phase=event.get("phase"),
                    step=event.get("step"),
                    of=event.get("of"),
                    eta_s=event.get("eta_s"),
                    metrics=event.get("metrics"),
                )
            elif kind == "checkpoint":
                self._point_at(Checkpoint.model_validate(event["checkpoint"]))
            self._waiting.popleft()

    def _point_at(self, checkpoint: Checkpoint) -> None:
        self._owned.checkpoint(checkpoint)
        before, self._previous = self._previous, checkpoint
        if before is not None and before.prefix != checkpoint.prefix:
            self._forget(before.prefix)

    def _forget(self, prefix: str) -> None:
        try:
            FileStore.from_settings(self._settings).delete(prefix)
        except VisionError as error:  # the sweeper finds it
            log.warning("an old checkpoint could not be removed", reason=error.detail)

    def _conclude(self, code: int) -> bool:
        """What the job becomes, tried until the lease ends; whether it waits for a worker again."""
        if self._lost:
            log.info("the job is no longer this worker's", job=str(self._job.id))
            return False
        while True:
            try:
                self._flush()
                return self._end(code)
            except LostError:
                return False
            except SQLAlchemyError as error:
                log.warning("the database is away", job=str(self._job.id), reason=type(error).__name__)
                if time.monotonic() > self._leased_until:
                    return False
                time.sleep(_RETRY_S)

    def _end(self, code: int) -> bool:
        owned = self._owned
        if self._outcome is not None:
            owned.succeed(self._outcome)
            self._forget(f"jobs/{self._job.id}/{self._job.fence}/checkpoints")
            return False
        if self._cancelled:
            owned.stop()
            return False
        if self._error is not None and not self._error.get("again"):
            owned.fail(str(self._error["code"]), str(self._error["detail"]))
            return False
        if self._draining.is_set():
            owned.release()
            return True
        if self._error is not None:
            owned.crash(str(self._error["code"]), str(self._error["detail"]))
        else:
            owned.crash("process_died", _reason(code))
        return True


def _launcher(job: Claimed, settings: Settings) -> list[str]:
    """Python itself for one process, torchrun for several."""
    ranks, nodes = int(job.spec.params.get("processes") or 1), int(job.spec.params.get("nodes") or 1)
    if ranks * nodes == 1:
        return [sys.executable]
    where = ["--standalone"]
    if nodes > 1:
        where = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-id", str(job.id)]
        where += ["--rdzv-endpoint", settings.rendezvous or "127.0.0.1:29400"]
    return [sys.executable, "-m", "torch.distributed.run", *where, "--nproc-per-node", str(ranks)]


def _environment(settings: Settings, addresses: Addresses) -> dict[str, str]:
    """This process's, with every setting and both addresses as this worker has them."""
    values = {
        f"VISION_{name.upper()}": str(getattr(settings, name))
        for name in settings.model_fields_set
        if getattr(settings, name) is not None and name not in ("secret", "remote_api_key")
    }
    return {
        **os.environ,
        **values,
        "VISION_DATA_DIR": str(settings.data_dir.expanduser().resolve()),
        "VISION_DATABASE_URL": addresses.database_url,
        "VISION_REDIS_URL": addresses.redis_url,
        "PYTHONUNBUFFERED": "1",
        "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "1"),
        "TOKENIZERS_PARALLELISM": "false",
        **({"DS_ACCELERATOR": "cpu"} if devices.parse(settings.device).kind == "cpu" else {}),
    }


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the child and everything it started."""
    if child.stdin is not None:
        child.stdin.close()  # ranks in sessions of their own see this
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _reason(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
        return f"Its process was killed by {name}{hint}."
    return f"Its process ended with code {code} before it was done."
