"""Runs a named function in a fresh process with limits, and hands on its result or its failure.

The function is named, not sent: `package.module:function`. Its arguments and its result travel as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from app import errors
from app.bounded.limits import MIB, ChildLimits
from app.bounded.slots import Slots
from app.bounded.usage import group_usage

_TICK_SECONDS = 0.05
_USAGE_SECONDS = 0.2
_READ_BYTES = 1 << 16
_MAX_REQUEST_BYTES = 1 << 16
"""What a pipe takes without waiting for its reader."""
_WAIT_SECONDS = 10.0
"""How long a child waits for another one to end before the service counts as busy."""
MAX_THREADS = 4
"""Of a child: its limit of CPU time counts all of them, and on a large machine most would only wait for the others."""
_KEPT = (
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT"),
    *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH"),
    *("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"),
)
"""All of the environment that a child sees: no keys, no addresses."""

_SLOTS = Slots("check")


class _GoneError(Exception):
    """Nobody waits for the result any more."""


async def run_bounded_async(
    function: str, arguments: dict[str, Any], limits: ChildLimits, *, most: int, doing: str
) -> Any:
    """`run_bounded` in a thread, beside at most `most` - 1 others; cancelling it ends the child.

    Raises OverloadedError where others take too long, and what `run_bounded` raises.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    while (give_back := _SLOTS.take(most)) is None:
        if time.monotonic() > deadline:
            raise errors.OverloadedError(
                "Too many uploads are being checked: try again shortly.", retry_after_s=5
            )
        await asyncio.sleep(_TICK_SECONDS)
    gone = threading.Event()
    work = asyncio.ensure_future(
        asyncio.to_thread(run_bounded, function, arguments, limits, doing=doing, gone=gone)
    )
    work.add_done_callback(lambda done: _release(done, give_back))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        gone.set()
        with contextlib.suppress(_GoneError, errors.VisionError, OSError):
            await work
        raise


def _release(work: asyncio.Future[Any], give_back: Callable[[], None]) -> None:
    give_back()
    if not work.cancelled():
        work.exception()


def run_bounded(
    function: str,
    arguments: dict[str, Any],
    limits: ChildLimits,
    *,
    doing: str,
    gone: threading.Event | None = None,
) -> Any:
    """The result of `function` (`module:name`) called with `arguments` in a process of its own. Blocks.

    `doing` names the work in sentences ("Checking the model"); `gone` ends it early. Raises the VisionError that the
    function raises, CheckLimitError where it takes more than a limit or dies of what it reads, OverloadedError where
    the system killed it, OSError where the system refused it something (a full disk), VisionError for any other
    exception of it.
    """
    request = {"function": function, "arguments": arguments, "limits": vars(limits)}
    line = json.dumps(request).encode() + b"\n"
    if len(line) > _MAX_REQUEST_BYTES:
        raise ValueError("a request to a bounded child is too long: pass the path of a file")
    read_fd, write_fd = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "app.bounded.process", str(write_fd)],
            stdin=subprocess.PIPE,  # its end tells the child that this process is gone
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(write_fd,),
            start_new_session=True,
            env=_environment(),
        )
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    try:
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(line)
                process.stdin.flush()
        reply = _read_reply(process.pid, read_fd, limits, doing, gone)
    finally:
        os.close(read_fd)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            process.communicate()
    return _result(reply, process.returncode, limits, doing)


def _environment() -> dict[str, str]:
    threads = str(min(MAX_THREADS, os.cpu_count() or MAX_THREADS))
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | {
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait by spinning use up the child's CPU time
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "MALLOC_ARENA_MAX": "2",
    }


def _read_reply(
    group: int, read_fd: int, limits: ChildLimits, doing: str, gone: threading.Event | None
) -> bytes:
    """What the child writes until it closes its end, watching what it takes meanwhile."""
    deadline = time.monotonic() + limits.wall_seconds
    look_at = 0.0
    reply = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(read_fd, selectors.EVENT_READ)
        while True:
            if selector.select(_TICK_SECONDS):
                data = os.read(read_fd, _READ_BYTES)
                if not data:
                    return bytes(reply)
                reply += data
                if len(reply) > limits.reply_bytes:
                    raise _to_limit_error("reply", limits, doing)
            if gone is not None and gone.is_set():
                raise _GoneError
            now = time.monotonic()
            if now > deadline:
                raise _to_limit_error("time", limits, doing)
            if now >= look_at:
                look_at = now + _USAGE_SECONDS
                usage = group_usage(group)
                if usage is not None and usage.processes > limits.processes:
                    raise _to_limit_error("processes", limits, doing)
                if usage is not None and usage.memory_bytes > limits.memory_bytes:
                    raise _to_limit_error("memory", limits, doing)


def _result(reply: bytes, code: int, limits: ChildLimits, doing: str) -> Any:
    try:
        read = json.loads(reply)
    except ValueError:
        raise _death(code, limits, doing) from None
    if "result" in read:
        return read["result"]
    error = read["error"]
    if "limit" in error:
        raise _to_limit_error(error["limit"], limits, doing)
    # only a known failure: the child has read untrusted data, and a name of its choosing is never imported
    kind = errors.list_errors().get(str(error.get("class")))
    if kind is not None:
        raise kind(error["detail"], retry_after_s=error["retry_after_s"], **error["context"])
    cause = error.get("trace") or str(error)
    if "errno" in error:  # the caller knows what the path holds, and names it (`app.storage.disk.fault_of`)
        raise OSError(error["errno"], os.strerror(error["errno"])) from errors.VisionError(cause=cause)
    raise errors.VisionError(cause=cause)


def _death(code: int, limits: ChildLimits, doing: str) -> errors.VisionError:
    """The failure of a child that ended without a word."""
    if code == -signal.SIGXCPU:
        return _to_limit_error("CPU time", limits, doing)
    if code == -signal.SIGXFSZ:
        return _to_limit_error("disk", limits, doing)
    if code == -signal.SIGKILL:
        return errors.OverloadedError(
            f"{doing} was ended by the system, which is short of memory.", retry_after_s=30
        )
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return errors.CheckLimitError(f"{doing} broke off ({how}): the upload is damaged or malicious.")


def _to_limit_error(what: str, limits: ChildLimits, doing: str) -> errors.CheckLimitError:
    sizes = {
        "memory": f" ({limits.memory_bytes // MIB} MiB)",
        "CPU time": f" ({limits.cpu_seconds} s)",
        "time": f" ({limits.wall_seconds:g} s)",
        "open files": f" ({limits.open_files})",
        "disk": f" ({limits.file_bytes // MIB} MiB in one file)",
    }
    if what == "reply":
        return errors.CheckLimitError(f"{doing} led to a larger result than this service accepts.")
    return errors.CheckLimitError(f"{doing} took more {what} than this service allows{sizes.get(what, '')}.")
