"""Processes as forks of one that has their modules imported: processes of their own, without the seconds of a core that
importing takes; tests start hundreds.

As a script, `python forks.py KIND`, this is the process that forks: its standard input is a socket on which each byte
asks for a fork and comes with four files: the connection over which the fork is told what to be and says how it ended,
and its standard input, output and errors.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
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
_lock = Lock()
_running: dict[Kind, socket.socket] = {}


def fork(
    kind: Kind, words: Sequence[str], env: Mapping[str, str], cwd: Path, files: tuple[int, int, int]
) -> socket.socket:
    """A process with these standard input, output and errors; on the connection it says its process id on a line of its
    own, and its exit code where it comes to an end by itself.
    """
    mine, theirs = socket.socketpair()
    with theirs, _lock:
        socket.send_fds(_start(kind, env), [b"x"], [theirs.fileno(), *files])
    mine.sendall(json.dumps([list(words), dict(env), str(cwd)]).encode() + b"\n")
    return mine


def _start(kind: Kind, env: Mapping[str, str]) -> socket.socket:
    """The way to the process that forks, which is started where there is none yet."""
    if kind not in _running:
        mine, theirs = socket.socketpair()
        paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client/src'}"}
        with theirs:
            process = subprocess.Popen([sys.executable, __file__, kind], stdin=theirs, env={**env, **paths})
        _running[kind] = mine
        atexit.register(process.wait, 10)
        atexit.register(mine.close)
    return _running[kind]


def _serve(kind: Kind) -> None:
    """Fork whenever asked, until whoever asks has gone."""
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"  # as jobs have it before transformers comes in
    gc.disable()
    for name in MODULES[kind]:
        import_module(name)
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a fork: its connection says how it ended
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    while True:
        asked, files, _, _ = socket.recv_fds(control, 1, 4)
        if not asked:
            return
        if os.fork() == 0:
            control.close()
            _become(kind, *files)
        for file in files:
            os.close(file)


def _become(kind: Kind, connection: int, *files: int) -> NoReturn:
    """Be what is asked for as its script would be, to the end of the process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    way = socket.socket(fileno=connection)
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
    _serve(sys.argv[1])  # type: ignore[arg-type]  # one of MODULES
