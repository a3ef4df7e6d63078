"""Server processes: started in a session of their own, recognised later by what their command line says."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from app.embedded.errors import AccountError, ServerStartError
from app.embedded.folders import Account

LOG_BYTES = 1 << 20
POLL_SECONDS = 0.01


def environment() -> dict[str, str]:
    """What a server sees of our environment: nothing that is secret, or that changes what it writes."""
    kept = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
    if "LD_LIBRARY_PATH" in os.environ:
        kept["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return kept


def launch(argv: Sequence[str], *, log: Path, account: Account | None) -> subprocess.Popen[bytes]:
    """Start a server that outlives Ctrl-C, appending its output to `log`; raises ServerStartError."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            cwd="/",
            env=environment(),
            start_new_session=True,
            umask=0o077,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except OSError as error:
        raise start_failure(argv[0], error, account) from error
    finally:
        os.close(handle)
    # Reaps the server whenever it ends: no zombie keeps its process id looking alive.
    threading.Thread(target=process.wait, name=f"reap-{process.pid}", daemon=True).start()
    return process


def run(
    argv: Sequence[str], *, account: Account | None, text: str = "", timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a short tool to its end with `text` as its input; raises ServerStartError if it cannot start."""
    try:
        return subprocess.run(
            argv,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            cwd="/",
            env=environment(),
            start_new_session=True,
            umask=0o077,
            timeout=timeout_s,
            check=False,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise start_failure(argv[0], error, account) from error


def start_failure(program: str, error: Exception, account: Account | None) -> Exception:
    """The named exception for a program that could not be run."""
    if isinstance(error, PermissionError) and account:
        return AccountError(
            f"{program} cannot be run as user {account.uid}: {error}. "
            "Start the service as an ordinary user, or set VISION_DATABASE_URL and VISION_REDIS_URL."
        )
    return ServerStartError(f"{program} could not be run: {error}.")


def alive(pid: int | None, argument: str, *, variable: str = "") -> bool:
    """Whether process `pid` runs (not a zombie) and has `argument` on its command line, or as the value of `variable`,
    where one is named, in its environment.

    Process ids are reused, in a restarted container at once: a number alone proves nothing.
    """
    if pid is None or pid <= 1:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    proc = Path("/proc") / str(pid)
    try:
        state = proc.joinpath("stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        known = os.fsencode(argument) in proc.joinpath("cmdline").read_bytes().split(b"\0")
        if variable and not known:
            entry = os.fsencode(f"{variable}={argument}")
            known = entry in proc.joinpath("environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        # a system without /proc leaves only the number
        return not Path("/proc/self").exists()
    return state not in {"Z", "X"} and known


def find(argument: str, account: Account | None, *, variable: str = "") -> list[int]:
    """Every process of the servers' user that `alive` knows by the argument or the variable, noted or not."""
    owner = account.uid if account else os.geteuid()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if entry.stat().st_uid == owner and alive(int(entry.name), argument, variable=variable):
                found.append(int(entry.name))
    return found


def end(pid: int, argument: str, steps: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Send each signal in turn until process `pid` is gone, waiting so many seconds after each."""
    for sign, patience_s in steps:
        deadline = time.monotonic() + patience_s
        if alive(pid, argument):
            with suppress(ProcessLookupError):
                os.kill(pid, sign)
        while alive(pid, argument):
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
        else:
            return True
    return False


def end_all(
    argument: str,
    account: Account | None,
    steps: Sequence[tuple[signal.Signals, float]],
    *,
    variable: str = "",
) -> None:
    """As `end`, for all that `find` finds, and for what those start meanwhile."""
    for sign, patience_s in steps:
        deadline = time.monotonic() + patience_s
        while found := find(argument, account, variable=variable):
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
        else:
            return


def tail(log: Path, lines: int = 5) -> str:
    """The last lines of a log, for an error message."""
    with suppress(OSError):
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])
    return ""
