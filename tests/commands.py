"""`vision` commands as forks of one process that has the command line imported: a process each, without its start.

Importing it takes most of a command's half second of a core, and tests run hundreds. As a script, this is that process:
its standard input is a socket on which each byte, with a connection and two files beside it, asks for a command.
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
import tempfile
from pathlib import Path
from threading import Lock
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
_lock = Lock()
_running: list[socket.socket] = []


def run_forked(
    words: list[str], env: dict[str, str], cwd: Path | None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` makes of `vision WORDS`; raises subprocess.TimeoutExpired as it does.

    A command that does not end by itself, but by a signal, has the code -1.
    """
    mine, theirs = socket.socketpair()
    with mine, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with theirs, _lock:
            socket.send_fds(_start(env), [b"x"], [theirs.fileno(), out.fileno(), err.fileno()])
        mine.settimeout(timeout)
        mine.sendall(json.dumps([words, env, str(cwd or Path.cwd())]).encode() + b"\n")
        said = b""
        try:
            while part := mine.recv(64):  # it ends with the process
                said += part
        except TimeoutError:
            if said:
                os.kill(int(said.split()[0]), signal.SIGKILL)
            raise subprocess.TimeoutExpired(words, timeout) from None
        code = said.split()[1:]
        out.seek(0)
        err.seek(0)
        printed = out.read().decode(), err.read().decode()
    return subprocess.CompletedProcess(words, int(code[0]) if code else -1, *printed)


def _start(env: dict[str, str]) -> socket.socket:
    """The way to the process that forks, which is started where there is none yet."""
    if not _running:
        mine, theirs = socket.socketpair()
        paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client/src'}"}
        with theirs:
            process = subprocess.Popen([sys.executable, __file__], stdin=theirs, env=env | paths)
        _running.append(mine)
        atexit.register(process.wait, 10)
        atexit.register(mine.close)
    return _running[0]


def _serve() -> None:
    """Fork for every command, until whoever asks has gone."""
    import app.cli  # noqa: F401 - for the forks to have

    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a fork: its connection says how it ended
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    while True:
        asked, files, _, _ = socket.recv_fds(control, 1, 3)
        if not asked:
            return
        if os.fork() == 0:
            control.close()
            _be_command(*files)
        for file in files:
            os.close(file)


def _be_command(connection: int, out: int, err: int) -> NoReturn:
    """Be the command that is asked for as its script would be, to the end of the process."""
    from app.cli import main

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(out, 1)
    os.dup2(err, 2)
    way = socket.socket(fileno=connection)
    way.sendall(f"{os.getpid()}\n".encode())
    words, env, cwd = json.loads(way.makefile("rb").readline())
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["vision", *words]
    code = 1  # what a traceback ends with
    try:
        sys.exit(main())
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    finally:
        way.sendall(str(code).encode())
        globals()["_kept_open"] = way


if __name__ == "__main__":
    _serve()
