"""A worker that lives beside a service: `python -m workers.worker.beside QUEUES SLOTS`.

The service holds the other end of its standard input: the first line is JSON with the addresses of the databases,
which hold passwords, and its end is the service's.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import warnings

from celery.platforms import SecurityWarning

from app.settings import Settings
from workers.worker.celery_app import make_app


def main() -> None:
    """Work until SIGTERM, or until the service is gone, which counts as one."""
    queues, slots = sys.argv[1:]
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as lifeline:
        values = json.loads(lifeline.readline())
    # the embedded servers have seen to what an administrator's account can do
    warnings.filterwarnings("ignore", category=SecurityWarning)
    threading.Thread(target=_outlive_nobody, args=(sys.stdin.fileno(),), daemon=True).start()
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    make_app(Settings(**values)).worker_main(
        ["--quiet", "worker", "--queues", queues, "--concurrency", slots, *quiet]
    )


def _outlive_nobody(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
