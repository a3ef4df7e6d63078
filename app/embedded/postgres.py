"""The embedded PostgreSQL: made once, started or joined, recovered after a crash, stopped.

Reachable through a Unix socket by one role with a password; the superuser cannot log in at all, what needs it is
done in single-user mode while no server runs.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg

from app.embedded.errors import DataVersionError, FolderError, ServerStartError, ServerStopError
from app.embedded.folders import private_folder, secret, sync_folder, write_private
from app.embedded.layout import POSTGRES_MAJOR, Layout
from app.embedded.processes import POLL_SECONDS, alive, end, end_all, launch, run, tail

ROLE = "vision"
DATABASE = "vision"
SUPERUSER = "postgres"
SOCKET = ".s.PGSQL.5432"
START_SECONDS = 120.0
"""Recovery after a crash replays what was not yet in the tables, which may take a while."""
LINGER_SECONDS = 15.0
"""How long a killed server's backends may take to notice that it is gone."""

# The collation is PostgreSQL's own, not the C library's: an upgrade of the system never corrupts an index.
INITDB = (
    f"--username={SUPERUSER}", "--auth=reject", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8", "--data-checksums", "--no-instructions", "--no-sync",
)  # fmt: skip
HBA = f"local all {ROLE} scram-sha-256\n"
# Given at every start, not written into the cluster, so that a new version's choices hold for an old folder.
# fsync and synchronous_commit are the defaults, named because an answered 201 rests on them.
SERVER = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "maintenance_work_mem": "128MB",
    "work_mem": "8MB",
    "max_wal_size": "512MB",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",  # their memory is /dev/shm's, which containers keep at 64 MB
    "io_method": "sync",
    "log_min_messages": "log",  # errors of statements go to the client, which reports them
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


class Postgres:
    """The server of one data folder. All methods but `running` want the data folder's lock held."""

    def __init__(self, layout: Layout, *, durable: bool = True) -> None:
        """Nothing is started or read yet; not `durable` is for databases that are thrown away."""
        self.layout = layout
        self._durable = durable
        self.log = layout.state / "postgres.log"
        self._password = layout.state / "postgres.password"

    def url(self) -> str:
        """libpq's URL of the database, with its password."""
        login = f"{ROLE}:{quote(secret(self._password), safe='')}"
        return f"postgresql://{login}@/{DATABASE}?host={quote(str(self.layout.sockets))}"

    def running(self) -> bool:
        """Whether the server's process is there; cheap."""
        return alive(self._pid_file()[0], str(self.layout.cluster))

    def ensure(self) -> str:
        """Start the server unless it runs, and return its URL once it answers; raises EmbeddedError."""
        self._check_version()
        if self.running() and not self._joinable():
            self.stop()
        if not self.layout.cluster.exists():
            self._create()
        self._clear_unfinished()
        if not self.running() and not self._password.exists():
            self._single_user(self.layout.cluster, self._login_sql("ALTER"))
        self._start()
        url = self.url()
        try:
            psycopg.connect(url, connect_timeout=10).close()
        except psycopg.Error as error:
            raise ServerStartError(f"The embedded PostgreSQL runs but cannot be used: {error}") from error
        return url

    def stop(self) -> None:
        """Fast shutdown: what is under way is rolled back, all else is on disk; raises ServerStopError."""
        pid, _, _ = self._pid_file()
        argument = str(self.layout.cluster)
        if (
            alive(pid, argument)
            and pid
            and not end(pid, argument, [(signal.SIGINT, 30), (signal.SIGQUIT, 10)])
        ):
            raise ServerStopError(f"The embedded PostgreSQL (process {pid}) does not stop: see {self.log}.")

    def _start(self) -> None:
        """Start unless running, and wait until the server takes connections."""
        began = time.monotonic()
        process: subprocess.Popen[bytes] | None = None
        while True:
            pid, _, status = self._pid_file()
            here = alive(pid, str(self.layout.cluster))
            if here and status == "ready":
                return
            if not here and (process is None or process.poll() is not None):
                if process is not None:
                    self._explain(process.returncode, time.monotonic() - began)
                self._clear_stale()
                process = self._launch()
            if time.monotonic() - began > START_SECONDS:
                raise ServerStartError(
                    f"The embedded PostgreSQL is not ready after {START_SECONDS:.0f} s: see {self.log}."
                )
            time.sleep(POLL_SECONDS)

    def _clear_stale(self) -> None:
        """Remove what a killed server left: its number may be a zombie's or another process's by now.

        PostgreSQL would take that for a running server; one that does run is found by its shared memory.
        """
        (self.layout.cluster / "postmaster.pid").unlink(missing_ok=True)
        for name in (SOCKET, f"{SOCKET}.lock"):
            (self.layout.sockets / name).unlink(missing_ok=True)

    def _launch(self) -> subprocess.Popen[bytes]:
        settings = SERVER | {"unix_socket_directories": str(self.layout.sockets)}
        if not self._durable:
            settings["fsync"] = "off"
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        program = str(self.layout.postgres_bin / "postgres")
        return launch(
            [program, "-D", str(self.layout.cluster), *options], log=self.log, account=self.layout.account
        )

    def _explain(self, code: int | None, waited_s: float) -> None:
        """Raise for a server that ended at once, unless trying again a moment later can help."""
        last = tail(self.log)
        if "still in use" in last and waited_s < LINGER_SECONDS:
            time.sleep(0.2)
            return
        raise ServerStartError(
            f"The embedded PostgreSQL ended with code {code}; the end of {self.log}:\n{last}"
        )

    def _check_version(self) -> None:
        cluster = self.layout.cluster
        if not cluster.exists():
            return
        try:
            version = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise FolderError(f"{cluster} is not a readable PostgreSQL folder: {error}.") from error
        if version != str(POSTGRES_MAJOR):
            raise DataVersionError(
                f"{cluster} was made by PostgreSQL {version}, but this version of the service carries "
                f"PostgreSQL {POSTGRES_MAJOR}: dump it with the version that made it and load it into a "
                "new data folder, or use another VISION_DATA_DIR."
            )

    def _joinable(self) -> bool:
        """Whether a running server can be reached: its socket and our password are still there."""
        _, sockets, status = self._pid_file()
        if status == "stopping":
            return True  # _start waits for its end
        ours = sockets == str(self.layout.sockets) and self._password.exists()
        return ours and (status != "ready" or (self.layout.sockets / SOCKET).exists())

    def _pid_file(self) -> tuple[int | None, str, str]:
        """The server's process id, socket folder and status, as it noted them itself."""
        with suppress(OSError, ValueError, IndexError):
            lines = (self.layout.cluster / "postmaster.pid").read_text().splitlines()
            status = lines[7].strip() if len(lines) > 7 else "starting"
            return int(lines[0]), lines[4].strip() if len(lines) > 4 else "", status
        return None, "", ""

    def _create(self) -> None:
        """Make the cluster, complete or not at all: under another name first, renamed when it is on disk."""
        home, account = self.layout.cluster.parent, self.layout.account
        self._clear_unfinished()
        fresh = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=home))
        fresh.rmdir()
        private_folder(fresh, account)
        try:
            self._tool("initdb", "-D", str(fresh), *INITDB)
            write_private(fresh / "pg_hba.conf", HBA, account)
            database = [
                "CREATE EXTENSION vector",
                self._login_sql("CREATE"),
                f"CREATE DATABASE {DATABASE} OWNER {ROLE}",
            ]
            # unsynced, since everything is synced at the end
            self._single_user(fresh, *database, options=("-F",))
            if self._durable:
                self._tool("initdb", "-D", str(fresh), "--sync-only", "--sync-method=syncfs")
            fresh.rename(self.layout.cluster)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        sync_folder(home)

    def _clear_unfinished(self) -> None:
        """Remove the clusters of starts that were killed, at every start.

        Their initdb goes on without its parent, however long it was paused, and would write into what is being
        removed: it is ended first, with what it has started, which is told of the cluster by PGDATA alone.
        """
        for leftover in self.layout.cluster.parent.glob("postgres.new-*"):
            steps = [(signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)]
            end_all(str(leftover), self.layout.account, steps, variable="PGDATA")
            shutil.rmtree(leftover, ignore_errors=True)

    def _login_sql(self, verb: str) -> str:
        return f"{verb} ROLE {ROLE} LOGIN CREATEDB PASSWORD '{secret(self._password)}'"

    def _single_user(self, cluster: Path, *statements: str, options: tuple[str, ...] = ()) -> None:
        """Run statements as the superuser in template1, whose content every new database gets."""
        text = "".join(f"{statement}\n" for statement in statements)
        said = self._tool("postgres", "--single", *options, "-D", str(cluster), "template1", text=text)
        for line in said.splitlines():
            if "ERROR:" in line or "FATAL:" in line:
                raise ServerStartError(f"The embedded PostgreSQL could not be set up: {line}")

    def _tool(self, name: str, *options: str, text: str = "") -> str:
        done = run([str(self.layout.postgres_bin / name), *options], account=self.layout.account, text=text)
        if done.returncode != 0:
            raise ServerStartError(f"{name} ended with code {done.returncode}: {done.stdout.strip()[-2000:]}")
        return done.stdout
