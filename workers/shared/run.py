"""One attempt as seen from inside the training process: what it is to do, and how it tells what it did."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import BaseModel

from app.jobs.spec import Checkpoint, FileRef, JobSpec
from app.settings import Settings
from app.storage.blobs import BlobStore
from app.storage.files import FileStore
from workers.shared.method import StoppingError
from workers.shared.store import worker_engine

_QUIET_S = 0.3
_SPREAD = 2_000
"""Figures lie at least this part of an attempt's age apart: a week of training tells of some 15,000 steps."""
_LINE = 2_000
STOPPED = 75
"""Exit code of a process whose work goes on elsewhere."""
THROUGHPUT = frozenset({"samples_per_s", "tokens_per_s", "device_memory_mb", "device_utilisation"})
"""Figures of `workers.shared.throughput`."""
_EVERY_STEP = frozenset({"loss", "learning_rate", "grad_norm"}) | THROUGHPUT


class Task(BaseModel):
    """What the supervisor writes down for the process it starts."""

    job: uuid.UUID
    workspace: str
    fence: int
    attempt: int
    spec: JobSpec
    strategy: str | None = None
    checkpoint: Checkpoint | None = None
    events: str
    """Path of the named pipe that takes events, one line of JSON each."""
    heartbeat: str
    scratch: str


class JobRun:
    """See `workers.shared.method.Run`; beside it the stores, for kinds of work that are no training."""

    def __init__(self, task: Task, settings: Settings) -> None:
        self.task = task
        self.spec = task.spec
        self.settings = settings
        self.scratch = Path(task.scratch) / "work"
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.rank = int(os.environ.get("RANK", "0"))
        self.files = FileStore.from_settings(settings)
        self.images = BlobStore.from_settings(settings)
        self.engine = worker_engine(settings.server.database_url or "")
        self.restored: Path | None = None
        self.restored_step = 0
        self._prefix = f"jobs/{task.job}/{task.fence}"
        self._pipe = open(task.events, "w", buffering=1)  # noqa: SIM115 - for the whole run
        self._writing = threading.Lock()
        self._is_stopping = False
        """Set in a signal handler, which may interrupt itself: it must take no lock."""
        self._began = time.monotonic()
        self._told = self._measured = 0.0
        self._newest: dict[str, float] = {}
        self._first: tuple[int, float] | None = None
        self._last = 0
        self._counted: tuple[int, int] | None = None
        self._fitted: tuple[int, int] | None = None
        self._phase = ""
        self.throughput: dict[str, float] = {}
        """The newest figures of how fast the job trained."""
        self._preparing = True

    def listen(self) -> None:
        """From now on SIGTERM asks the work to stop at its next checkpoint; before there is any, it stops at once."""

        def stop(_number: int, _frame: FrameType | None) -> None:
            if self._preparing:
                os._exit(STOPPED)
            self._is_stopping = True

        signal.signal(signal.SIGTERM, stop)

    def close(self) -> None:
        """No event is sent after this."""
        self._pipe.close()
        self.engine.dispose()

    def emit(self, event: str, **data: Any) -> None:
        """Tell the supervisor; ranks other than 0 tell of errors alone."""
        if self.rank == 0 or event == "error":
            with self._writing:
                self._pipe.write(json.dumps({"event": event, **data}) + "\n")
                self._pipe.flush()

    def phase(self, name: str) -> None:
        """preparing, fitting, evaluating or saving. Fitting counts anew; what it counted stays in the end."""
        if self._phase == "fitting":
            self._fitted = self._counted
        self._phase = name
        self._first, self._preparing, self._counted = None, name == "preparing", None
        counted = {"fitting": (0, 0), "saving": self._fitted}.get(name)
        self.emit(
            "progress", phase=name, **(dict(zip(("step", "of"), counted, strict=True)) if counted else {})
        )

    def step(self, step: int, of: int, **metrics: float) -> None:
        now = time.monotonic()
        if self._first is None or step < self._last:
            self._first = (step, now)
        self._last = step
        self._counted = (step, of)
        self.throughput |= {name: value for name, value in metrics.items() if name in THROUGHPUT}
        self._newest.update({name: float(value) for name, value in metrics.items() if math.isfinite(value)})
        # a rare figure keeps its own step, and so do the last ones
        whole = step >= of or any(name not in _EVERY_STEP for name in metrics)
        if now - self._told < _QUIET_S and not whole:
            return
        self._told = now
        values: dict[str, float] = {}
        if whole or now - self._measured >= (now - self._began) / _SPREAD:
            self._measured = now
            values, self._newest = self._newest, {}
        self.emit("progress", step=step, of=of, eta_s=self._estimate_left(step, of, now), metrics=values)

    def _estimate_left(self, step: int, of: int, now: float) -> float | None:
        """Seconds that the steps left will take at the pace so far, pauses to evaluate included."""
        if self._first is None or step <= self._first[0]:
            return None
        pace = (now - self._first[1]) / (step - self._first[0])
        return round(pace * max(of - step, 0), 1)

    def log(self, line: str) -> None:
        self.emit("log", line=line[:_LINE])

    def restore(self) -> None:
        """Fetch the newest checkpoint; one that is not whole is left aside, and the log says so."""
        checkpoint = self.task.checkpoint
        if checkpoint is None:
            return
        folder = self.scratch / f"restored-{self.rank}"
        try:
            for name, digest in checkpoint.files.items():
                target = folder / name
                self.files.get(f"{checkpoint.prefix}/{name}", target)
                with target.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                        raise FileNotFoundError(name)
        except FileNotFoundError:
            shutil.rmtree(folder, ignore_errors=True)
            self.log("The last checkpoint is not whole: starting over.")
            return
        self.restored, self.restored_step = folder, checkpoint.step
        self.log(f"Going on after step {checkpoint.step}.")

    def checkpoint(
        self, step: int, write: Callable[[Path], None], lent: Mapping[str, str] | None = None
    ) -> None:
        """See `Run`: written whole on this machine, then in the file store, then named in the job's row."""
        files = {**(lent or {}), **self.lend(step, write)}
        prefix = self._checkpoints(step)
        checkpoint = Checkpoint(prefix=prefix, fence=self.task.fence, step=step, files=files)
        self.emit("checkpoint", checkpoint=checkpoint.model_dump())

    def lend(self, step: int, write: Callable[[Path], None]) -> dict[str, str]:
        folder = self.scratch / f"checkpoint-{step}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write(folder)
        kept = self._put(folder, self._checkpoints(step))
        shutil.rmtree(folder, ignore_errors=True)
        return {file.name: file.sha256 for file in kept}

    def _checkpoints(self, step: int) -> str:
        return f"{self._prefix}/checkpoints/{step}"

    def checkpoint_due(self, step: int, every: int) -> bool:
        return self._is_stopping or (step > 0 and step % every == 0)

    def stop_if_asked(self) -> None:
        if self._is_stopping:
            raise StoppingError

    def publish(self, folder: Path) -> list[FileRef]:
        """Put every file below `folder` into the file store; who may see them is decided when the job succeeds."""
        return self._put(folder, f"{self._prefix}/artifacts")

    def _put(self, folder: Path, prefix: str) -> list[FileRef]:
        kept = []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            digest, size = self.files.put(f"{prefix}/{name}", path)
            kept.append(FileRef(name=name, key=f"{prefix}/{name}", sha256=digest, size=size))
        return kept
