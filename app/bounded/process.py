"""The bounded child: `python -m app.bounded.process FD` reads one request, runs its function, writes one reply.

The request is a line of JSON on the standard input, the reply a JSON object on the file descriptor FD. The standard
input stays open while the parent lives: its end ends the child and whatever it started.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import sys
import threading
import traceback
from importlib import import_module
from typing import Any

from app.errors import VisionError, locate_error

NICENESS = 5
"""Requests that the service answers meanwhile come first."""
_TRACE_CHARS = 4_000
_CPU_GRACE_SECONDS = 5
_MAX_CAUSES = 16


def main(reply_fd: int) -> None:
    """Serve the one request; never returns."""
    request = json.loads(sys.stdin.buffer.readline())
    _limit(request["limits"])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        module, _, name = request["function"].partition(":")
        reply = {"result": getattr(import_module(module), name)(**request["arguments"])}
    except BaseException as error:  # a panic of native code included
        reply = {"error": _describe(error)}
    _write(reply_fd, json.dumps(reply).encode())
    os._exit(0)  # without waiting for threads or for what libraries do when they end


def _limit(limits: dict[str, int]) -> None:
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    # RLIMIT_DATA and not RLIMIT_AS: libraries reserve far more addresses than they use
    wanted = {
        resource.RLIMIT_DATA: (limits["memory_bytes"], limits["memory_bytes"]),
        resource.RLIMIT_CPU: (limits["cpu_seconds"], limits["cpu_seconds"] + _CPU_GRACE_SECONDS),
        resource.RLIMIT_NOFILE: (limits["open_files"], limits["open_files"]),
        resource.RLIMIT_FSIZE: (limits["file_bytes"], limits["file_bytes"]),
        resource.RLIMIT_CORE: (0, 0),
    }
    for kind, (soft, hard) in wanted.items():
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        with contextlib.suppress(OSError, ValueError):  # a kind that this system does not know
            resource.setrlimit(kind, (soft, hard))


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _describe(error: BaseException) -> dict[str, Any]:
    """An error as the parent raises it again."""
    if isinstance(error, VisionError):
        context = {name: str(value) for name, value in error.context.items()}
        return {
            "class": locate_error(type(error)),
            "detail": error.detail,
            "context": context,
            "retry_after_s": error.retry_after_s,
        }
    limit = _limit_met(error)
    if limit is not None:
        return {"limit": limit}
    trace = traceback.format_exc()[-_TRACE_CHARS:]
    fault = _system_fault(error)
    return {"trace": trace} if fault is None else {"trace": trace, "errno": fault.errno}


def _system_fault(error: BaseException | None) -> OSError | None:
    """The failure of the operating system, such as a full disk, that `error` is or comes from."""
    for _ in range(_MAX_CAUSES):
        if error is None or (isinstance(error, OSError) and error.errno is not None):
            return error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _limit_met(error: BaseException) -> str | None:
    said = str(error).lower()
    if isinstance(error, MemoryError) or "can't allocate memory" in said or "out of memory" in said:
        return "memory"
    if isinstance(error, OSError):
        kinds = {errno.EMFILE: "open files", errno.EFBIG: "disk", errno.ENOMEM: "memory"}
        return kinds.get(error.errno or 0)
    return None


def _write(reply_fd: int, data: bytes) -> None:
    with os.fdopen(reply_fd, "wb") as reply, contextlib.suppress(BrokenPipeError):
        reply.write(data)


if __name__ == "__main__":
    main(int(sys.argv[1]))
