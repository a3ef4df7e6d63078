"""`vision` commands as forks: importing the command line takes most of a command's half second of a core."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.forks import fork


def run_forked(
    words: list[str], env: dict[str, str], cwd: Path | None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` makes of `vision WORDS`; raises subprocess.TimeoutExpired as it does.

    A command that does not end by itself, but by a signal, has the code -1.
    """
    with (
        open(os.devnull) as nothing,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        fork("command", words, env, cwd or Path.cwd(), (nothing.fileno(), out.fileno(), err.fileno())) as way,
    ):
        way.settimeout(timeout)
        said = b""
        try:
            while part := way.recv(64):  # it ends with the process
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
