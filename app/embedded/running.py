"""Which service serves a data folder: `server.json` in it, written while one listens.

Knows addresses and process ids; knows nothing of what a service does, so that commands import it for nothing.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from app import __version__

NOTE = "server.json"
ANSWER_S = 2.0


def announce(data_dir: Path, url: str) -> None:
    """Note that this process answers at `url`."""
    from app.embedded.folders import write_private

    note = {"url": url, "pid": os.getpid(), "version": __version__}
    write_private(data_dir / NOTE, json.dumps(note) + "\n")


def withdraw(data_dir: Path) -> None:
    """Remove the note, unless another process has put its own in its place."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        path = data_dir / NOTE
        if json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid():
            path.unlink()


def running_server(data_dir: Path) -> str | None:
    """Address of the service that serves `data_dir` right now: its process lives and answers; else None."""
    import httpx

    try:
        note = json.loads((data_dir.expanduser() / NOTE).read_text(encoding="utf-8"))
        url, pid = str(note["url"]), int(note["pid"])
        os.kill(pid, 0)
    except PermissionError:
        pass  # it lives, under another user
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    try:
        reply = httpx.get(f"{url}/healthz", timeout=ANSWER_S, trust_env=False)
        ours = reply.is_success and reply.json().get("service") == "llamafarm-vision"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, AttributeError):
        return None
    return url if ours else None
