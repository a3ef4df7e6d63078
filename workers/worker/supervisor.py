"""Carries a job through one attempt: claims it, starts the process that does the work, and stays its only voice.

The child does the work and tells; only what this writes counts, and only while the lease holds.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from itertools import islice, takewhile
from pathlib import Path
from typing import IO, Any

import structlog
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from app.embedded import Addresses
from app.errors import VisionError
from app.jobs.spec import Checkpoint, Outcome
from app.settings import Settings
from app.storage import disk
from app.storage.files import FileStore
from workers.shared.store import JobStore, LeasedJob, LostError, OwnedJob, worker_engine
from workers.worker import launching, liveness
from workers.worker.lines import Lines

_TICK_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_CANCEL_GRACE_SECONDS = 1.5
_MAX_WAITING = 10_000
_LOG_WAVE = 200
_MAX_WRITES = 50
_AT_ONCE = frozenset({"process_died", "rank_lost"})
"""Ends that another attempt may well not meet; what else may pass needs time, and waits for a later sweep."""
_REFUSED = "What the job made could not be written down: something that it belongs to is gone or in the way."

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
    engine = worker_engine(addresses.database_url, idle_s=settings.jobs.job_lease_s)
    try:
        store = JobStore(
            engine,
            lease_s=settings.jobs.job_lease_s,
            log_lines=settings.jobs.job_log_lines,
            wait_s=settings.jobs.job_wait_s,
            waits=settings.jobs.job_waits,
        )
        began = time.monotonic()
        owned = store.claim(job_id, f"{socket.gethostname()}:{os.getpid()}")
        if owned is None:
            return
        attempt = _Attempt(
            owned, settings, addresses, draining, leased_until=began + settings.jobs.job_lease_s
        )
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
        self._job: LeasedJob = owned.job
        self._settings = settings
        self._addresses = addresses
        self._draining = draining
        self._leased_until = leased_until
        self._renew_at = 0.0
        self._following = False
        self._scratch = launching.folder_of(self._job, settings)
        self._heartbeat = self._scratch / launching.HEARTBEAT
        self._waiting: deque[dict[str, Any]] = deque()
        self._cancelled = False
        self._lost = False
        self._outcome: Outcome | None = None
        self._error: dict[str, Any] | None = None
        self._previous: Checkpoint | None = self._job.checkpoint

    def run(self) -> bool:
        """The attempt; whether other workers shall hear of the job at once."""
        code = 0
        try:
            code = self._carry_out()
        except (OSError, ValueError, VisionError) as error:
            log.error("an attempt went wrong", job=str(self._job.id), reason=repr(error))
            self._error = self._error or self._describe_failure(error)
        if code != 0 and self._error is None and disk.is_full(self._scratch):
            # it died before it could say so; what it wrote last is still there
            self._error = launching.wait_for_room(disk.full(self._scratch, what=launching.JOB_FILES))
        return self._conclude(code)

    def _describe_failure(self, error: Exception) -> dict[str, Any]:
        if (named := disk.want_of_room(error, self._scratch, what=launching.JOB_FILES)) is not None:
            return launching.wait_for_room(named)
        said = error.strerror if isinstance(error, OSError) else None
        detail = f"Its worker could not go on: {said or type(error).__name__}."
        return {"code": "worker_failed", "detail": detail, "again": True}

    def _carry_out(self) -> int:
        """Start the child and stay with it; its exit code."""
        launching.clear(self._settings)
        disk.check_room(self._scratch, self._settings.server.min_free_mb, what=launching.JOB_FILES)
        self._scratch.mkdir(parents=True, mode=0o700)
        liveness.beat(self._heartbeat)
        events = self._scratch / "events"
        os.mkfifo(events, 0o600)
        pipe = os.open(events, os.O_RDONLY | os.O_NONBLOCK)
        try:
            child, output = self._start(events)
            with output:
                event_lines, printed = Lines(pipe), Lines(output.fileno(), printed=True)
                self._following = True
                try:
                    self._follow(child, event_lines, printed)
                finally:
                    self._following = False
                    launching.kill(child)
                self._read(event_lines, printed)
        finally:
            os.close(pipe)
        return child.returncode

    def clean_up(self) -> None:
        """Remove what lies on this machine."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _start(self, events: Path) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        job = self._job
        task = {
            "job": str(job.id),
            "workspace": job.workspace,
            "fence": job.fence,
            "attempt": job.attempt,
            "strategy": job.strategy,
            "spec": job.spec.model_dump(mode="json"),
            "checkpoint": None if job.checkpoint is None else job.checkpoint.model_dump(),
            "events": str(events),
            "heartbeat": str(self._heartbeat),
            "scratch": str(self._scratch),
        }
        file = self._scratch / "task.json"
        file.write_text(json.dumps(task))
        return launching.start(job, self._settings, self._addresses, file)

    def _follow(self, child: subprocess.Popen[bytes], event_lines: Lines, printed: Lines) -> None:
        """Until the child has ended, or is no longer wanted."""
        look = 0.0
        drained_at: float | None = None
        while child.poll() is None:
            time.sleep(_TICK_SECONDS)
            now = time.monotonic()
            self._read(event_lines, printed)
            try:
                self._renew()
                if now >= look:
                    look = now + self._settings.jobs.job_cancel_poll_s
                    self._cancelled |= self._owned.cancel_asked()
                self._flush(_MAX_WRITES)
            except LostError:
                self._lost = True
            except SQLAlchemyError as error:
                self._warn_unreachable(error)
            if self._lost:
                return
            if self._cancelled:
                launching.stop(child, _CANCEL_GRACE_SECONDS)
                return
            if self._draining.is_set():
                if drained_at is None:
                    drained_at = now
                    child.terminate()
                elif now - drained_at > self._settings.jobs.job_stop_grace_s:
                    return

    def _renew(self) -> None:
        """Renew the lease where that is due; raises LostError where it may have lapsed, and what `renew` raises."""
        now = time.monotonic()
        if now >= self._leased_until:
            raise LostError  # the database was away for a lease: another worker may own the job by now
        if now >= self._renew_at:
            self._renew_at = now + _RETRY_SECONDS
            self._cancelled |= self._owned.renew()
            self._leased_until = now + self._settings.jobs.job_lease_s
            if self._following:
                liveness.beat(self._heartbeat)
            self._renew_at = now + self._settings.jobs.job_heartbeat_s

    def _warn_unreachable(self, error: SQLAlchemyError) -> None:
        log.warning("the database is away", job=str(self._job.id), reason=type(error).__name__)

    def _read(self, event_lines: Lines, printed: Lines) -> None:
        """Whole events, and what the child printed, which becomes its log."""
        for line in event_lines.read():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # cut short by the end of its writer
            if event["event"] == "done":
                self._outcome = Outcome.model_validate(event["outcome"])
            elif event["event"] == "error":
                self._error = self._error or event  # of several ranks the first knows why
            else:
                self._wait(event)
        for line in printed.read():
            if text := line.decode(errors="replace").replace("\0", ""):
                self._wait({"event": "log", "line": text})

    def _wait(self, event: dict[str, Any]) -> None:
        """Keep an event until the database has it; where too many wait, checkpoints alone."""
        if len(self._waiting) < _MAX_WAITING or event["event"] == "checkpoint":
            self._waiting.append(event)

    def _flush(self, most: int = _MAX_WAITING) -> None:
        """Store the received events, the oldest first; the lease is renewed meanwhile."""
        for _ in range(most):
            if not self._waiting:
                return
            self._renew()
            count = 1
            try:
                count = self._write()
            except DataError as error:
                log.warning("an event was refused", job=str(self._job.id), reason=str(error.orig))
            for _ in range(count):
                self._waiting.popleft()

    def _write(self) -> int:
        """Write the oldest event down, or the log lines that come first; how many events that were."""
        event = self._waiting[0]
        match event["event"]:
            case "log":
                lines = [event["line"] for event in takewhile(_is_log, islice(self._waiting, _LOG_WAVE))]
                self._owned.log(lines)
                return len(lines)
            case "progress":
                names = ("phase", "step", "of", "eta_s", "metrics")
                self._owned.report(**{name: event.get(name) for name in names})
            case "checkpoint":
                self._point_at(Checkpoint.model_validate(event["checkpoint"]))
        return 1

    def _point_at(self, checkpoint: Checkpoint) -> None:
        self._owned.checkpoint(checkpoint)
        before, self._previous = self._previous, checkpoint
        if before is not None and before.prefix != checkpoint.prefix:
            self._forget(before.prefix)

    def _forget(self, key: str) -> None:
        try:
            FileStore.from_settings(self._settings).delete(key)
        except VisionError as error:  # of checkpoints the sweeper finds it
            log.warning("what nobody needs could not be removed", key=key, reason=error.detail)

    def _conclude(self, code: int) -> bool:
        """What the job becomes, tried until the lease ends; whether other workers shall hear of it at once."""
        while not self._lost:
            try:
                self._renew()
                self._flush()
                return self._end(code)
            except LostError:
                self._lost = True
            except (DataError, IntegrityError) as error:
                # trying again would end the same way
                log.warning("the end of a job was refused", job=str(self._job.id), reason=str(error.orig))
                self._outcome = None
                self._error = self._error or {"code": "not_publishable", "detail": _REFUSED}
            except SQLAlchemyError as error:
                self._warn_unreachable(error)
                time.sleep(_RETRY_SECONDS)
        log.info("the job is no longer this worker's", job=str(self._job.id))
        return False

    def _end(self, code: int) -> bool:
        owned = self._owned
        if self._outcome is not None:
            owned.succeed(self._outcome)
            for key in (f"jobs/{self._job.id}/{self._job.fence}/checkpoints", *self._outcome.used_up):
                self._forget(key)
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
        if self._error is not None and self._error.get("wait"):
            log.warning("a job waits for room", job=str(self._job.id), reason=self._error["detail"])
            owned.postpone(str(self._error["code"]), str(self._error["detail"]))
            return False
        error = self._error or {"code": "process_died", "detail": launching.reason(code)}
        owned.crash(str(error["code"]), str(error["detail"]))
        return error["code"] in _AT_ONCE


def _is_log(event: dict[str, Any]) -> bool:
    return bool(event["event"] == "log")
