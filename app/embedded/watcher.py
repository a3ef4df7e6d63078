"""The watcher of one service: stops the embedded servers of its data folder after that service was killed.

Run as a script, `python watcher.py DATA_DIR SECONDS`, so that waiting takes the memory of a bare Python. Its standard
input is a pipe whose other end the service holds: a byte means that the service has left in order, the end that it was
killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time


def main(data_dir: str, linger_s: float) -> None:
    """Wait for the service's end, and where it was killed, stop the servers that nobody uses any more."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(
            number, signal.SIG_IGN
        )  # a signal to a whole group of processes must not leave servers behind
    if os.read(0, 1):
        return
    time.sleep(linger_s)
    # imported only now, since nearly every watcher ends above
    from pathlib import Path

    sys.path.append(str(Path(__file__).parents[2]))  # of a service that was started from a checkout
    from app.embedded.servers import stop_unused

    stop_unused(Path(data_dir))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
