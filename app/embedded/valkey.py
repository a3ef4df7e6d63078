"""The embedded Valkey (the Redis protocol): started or joined, replaced when it hangs, stopped.

Nothing survives its end, by choice: it holds a cache, announcements and hints, while the truth is in PostgreSQL.
"""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import suppress
from urllib.parse import quote

import redis

from app.embedded.errors import ServerStartError, ServerStopError
from app.embedded.folders import secret, write_private
from app.embedded.layout import Layout
from app.embedded.processes import POLL_SECONDS, alive, end, find, launch, tail

START_SECONDS = 20.0
ANSWER_SECONDS = 3.0
# volatile-lru evicts only keys that expire, which is every cached embedding and nothing else: a broker's
# queues never expire, so a full cache cannot push out a job.
CONFIG = """\
port 0
unixsocket {sockets}/valkey.sock
unixsocketperm 700
pidfile {sockets}/valkey.pid
dir {sockets}
requirepass {password}
daemonize no
set-proc-title no
save ""
appendonly no
shutdown-on-sigterm nosave now
maxmemory 256mb
maxmemory-policy volatile-lru
loglevel warning
"""


class Valkey:
    """The server of one data folder. All methods but `running` want the data folder's lock held."""

    def __init__(self, layout: Layout) -> None:
        """Nothing is started or read yet."""
        self.layout = layout
        self.log = layout.state / "valkey.log"
        self._password = layout.state / "valkey.password"
        self._socket = layout.sockets / "valkey.sock"
        self._config = layout.sockets / "valkey.conf"
        self._note = layout.sockets / "valkey.pid"

    def url(self) -> str:
        """redis-py's URL of database 0, with its password."""
        return f"unix://:{quote(secret(self._password), safe='')}@{quote(str(self._socket))}?db=0"

    def running(self) -> bool:
        """Whether the server's process is there; cheap."""
        return alive(self._pid(), str(self._config))

    def ensure(self) -> str:
        """Start the server unless it runs, and return its URL once it answers; raises EmbeddedError."""
        if self.running() and self._answers_within(ANSWER_SECONDS):
            return self.url()
        # one that hangs, or runs on without its files, would outlive us unseen
        self.stop()
        for stale in (self._socket, self._note):
            stale.unlink(missing_ok=True)
        text = CONFIG.format(sockets=self.layout.sockets, password=secret(self._password))
        write_private(self._config, text, self.layout.account)
        argv = [str(self.layout.valkey), str(self._config)]
        process = launch(argv, log=self.log, account=self.layout.account)
        if not self._answers_within(START_SECONDS, process):
            process.kill()
            raise ServerStartError(
                f"The embedded Valkey does not answer; the end of {self.log}:\n{tail(self.log)}"
            )
        return self.url()

    def stop(self) -> None:
        """Stop the server, also one whose files are lost; raises ServerStopError."""
        argument = str(self._config)
        noted = self._pid()
        for pid in {*find(argument, self.layout.account), *([noted] if noted else [])}:
            if not end(pid, argument, [(signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)]):
                raise ServerStopError(f"The embedded Valkey (process {pid}) does not stop: see {self.log}.")

    def _answers_within(self, seconds: float, process: subprocess.Popen[bytes] | None = None) -> bool:
        deadline = time.monotonic() + seconds
        client = redis.Redis.from_url(self.url(), socket_timeout=1, socket_connect_timeout=1)
        try:
            while time.monotonic() < deadline and (process is None or process.poll() is None):
                with suppress(redis.ConnectionError, redis.TimeoutError):
                    if client.ping():
                        return True
                time.sleep(POLL_SECONDS)
        except redis.RedisError:
            return False  # such as another password
        finally:
            client.close()
        return False

    def _pid(self) -> int | None:
        with suppress(OSError, ValueError):
            return int(self._note.read_text())
        return None
