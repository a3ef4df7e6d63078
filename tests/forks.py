"""Processes as forks of one that has their modules imported: processes of their own, without the seconds of a core that
importing takes; tests start hundreds.

As a script, `python forks.py KIND SOCKET`, this is the process that forks. Whoever connects to the socket sends a byte
with three files, which become a fork's standard input, output and errors, and is told how it ends. It goes when its own
standard input ends.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Literal, NoReturn

ROOT = Path(__file__).resolve().parents[1]
Kind = Literal["command", "job"]
MODULES: dict[Kind, Sequence[str]] = {
    "command": ["app.cli"],
    "job": [
        "onnx",
        "peft",
        "sklearn.linear_model",
        "torch._dynamo",
        "transformers.modeling_utils",
        "workers.datasets.job",
        "workers.evaluation.job",
        "workers.exporting.job",
        "workers.methods.common.publishing",
        "workers.training.job",
        "workers.worker.trainer",
    ],
}
START_S = 600.0
_lock = Lock()
_running: dict[Kind, Path] = {}


def fork(
    kind: Kind, words: Sequence[str], env: Mapping[str, str], cwd: Path, files: tuple[int, int, int]
) -> socket.socket:
    """A process with these standard input, output and errors; on the connection it says its process id on a line of its
    own, and its exit code where it comes to an end by itself.
    """
    return fork_by(find_forks(kind, env), words, env, cwd, files)


def find_forks(kind: Kind, env: Mapping[str, str]) -> Path:
    """The socket of this process's one that forks, which is started where there is none yet."""
    with _lock:
        if kind not in _running:
            path = Path(tempfile.mkdtemp(prefix="forks-")) / "socket"
            paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client/src'}"}
            process = subprocess.Popen(
                [sys.executable, __file__, kind, str(path)], stdin=subprocess.PIPE, env={**env, **paths}
            )
            _running[kind] = path
            atexit.register(_end, process, path)
        return _running[kind]


def wait_for_forks(kind: Kind, env: Mapping[str, str]) -> Path:
    """As `find_forks`, once that process has its modules and can fork at once; raises TimeoutError."""
    path = find_forks(kind, env)
    deadline = time.monotonic() + START_S
    while not path.exists():  # it is made after the modules came in
        if time.monotonic() > deadline:
            raise TimeoutError(f"the process that forks did not come up in {START_S} s")
        time.sleep(0.05)
    return path


def _end(process: subprocess.Popen[bytes], path: Path) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(60)
    path.unlink(missing_ok=True)
    path.parent.rmdir()


def fork_by(
    path: Path, words: Sequence[str], env: Mapping[str, str], cwd: Path, files: tuple[int, int, int]
) -> socket.socket:
    """As `fork`, by the process that listens there or is about to."""
    deadline = time.monotonic() + START_S
    while True:
        way = socket.socket(socket.AF_UNIX)
        try:
            way.connect(str(path))
            break
        except (FileNotFoundError, ConnectionRefusedError):
            way.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    socket.send_fds(way, [b"x"], files)
    way.sendall(json.dumps([list(words), dict(env), str(cwd)]).encode() + b"\n")
    return way


def _serve(kind: Kind, path: str) -> None:
    """Fork whenever asked, until whoever started this has gone."""
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"  # as jobs have it before transformers comes in
    gc.disable()
    for name in MODULES[kind]:
        import_module(name)
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a fork: its connection says how it ended
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        while True:
            ready, _, _ = select.select([0, listener], [], [])
            if 0 in ready:
                return
            way, _ = listener.accept()
            _, files, _, _ = socket.recv_fds(way, 1, 3)
            if os.fork() == 0:
                listener.close()
                _become(kind, way, files)
            way.close()
            for file in files:
                os.close(file)


def _become(kind: Kind, way: socket.socket, files: Sequence[int]) -> NoReturn:
    """Be what is asked for as its script would be, to the end of the process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    words, env, cwd = json.loads(way.makefile("rb").readline())
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    if kind == "job":
        os.setsid()
    way.sendall(f"{os.getpid()}\n".encode())
    code = 1  # what a traceback ends with
    try:
        sys.exit(_main(kind, words)())
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    finally:
        way.sendall(str(code).encode())
        globals()["_kept_open"] = way


def _main(kind: Kind, words: list[str]) -> Callable[[], int | None]:
    if kind == "job":
        from workers.worker.trainer import main as do_job

        sys.argv = ["trainer.py", *words]
        return lambda: do_job(words[0])
    from app.cli import main

    sys.argv = ["vision", *words]
    return main


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])  # type: ignore[arg-type]  # one of MODULES
