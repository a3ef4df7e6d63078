"""The embedded servers as their users meet them: private, shared, gone when the last one leaves."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg
import pytest
import redis

from app.embedded import Addresses, EmbeddedServers, purge
from app.embedded.errors import BusyError, DataVersionError, FolderError

HOLD = """
import sys
from pathlib import Path
from app.embedded import EmbeddedServers
servers = EmbeddedServers(Path(sys.argv[1]), durable=False, linger_s=float((sys.argv + ["30"])[2]))
addresses = servers.start()
print(addresses.database_url, addresses.redis_url, flush=True)
sys.stdin.read()
servers.stop()
"""


def eventually(holds: Callable[[], bool], deadline_s: float = 60) -> None:
    """Poll until `holds`; fails after the deadline."""
    deadline = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def pids(addresses: Addresses) -> tuple[int, int]:
    """Process ids of PostgreSQL's postmaster and of Valkey."""
    with psycopg.connect(addresses.database_url) as connection:
        postmaster = psutil.Process(connection.info.backend_pid).ppid()
    with redis.Redis.from_url(addresses.redis_url) as client:
        return postmaster, int(client.info("server")["process_id"])


def has_ended(process: int | psutil.Process) -> bool:
    """Whether a process has ended, if only as a zombie; a `Process` is not taken for a later one of its number."""
    try:
        held = psutil.Process(process) if isinstance(process, int) else process
        return not held.is_running() or held.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def hold(data_dir: Path, *, linger_s: float = 30.0) -> tuple[subprocess.Popen[str], Addresses]:
    """Another process that uses the servers of `data_dir` until its input ends."""
    command = [sys.executable, "-c", HOLD, str(data_dir), str(linger_s)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Addresses(*process.stdout.readline().split())


def let_go(process: subprocess.Popen[str]) -> None:
    """End what `hold` started, in order."""
    with process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


def modes(folder: Path) -> dict[Path, int]:
    """Permissions of a folder and all its parents."""
    return {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.parents)}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder that has been used before; nothing runs in it between tests."""
    data_dir = tmp_path_factory.mktemp("used")
    with EmbeddedServers(data_dir, durable=False):
        pass
    yield data_dir
    purge(data_dir)


def test_they_are_durable_and_have_pgvector_and_the_redis_protocol(data_dir: Path) -> None:
    with EmbeddedServers(data_dir) as addresses:
        with psycopg.connect(addresses.database_url) as connection:
            assert connection.execute("SELECT '[0,1]'::vector <=> '[1,0]'").fetchone() == (1.0,)
            safe = {
                name: connection.execute(f"SHOW {name}").fetchone()
                for name in ("fsync", "synchronous_commit")
            }
            assert safe == {"fsync": ("on",), "synchronous_commit": ("on",)}
            assert connection.execute("SHOW data_checksums").fetchone() == ("on",)
        with redis.Redis.from_url(addresses.redis_url, decode_responses=True) as client:
            assert client.set("key", "value")
            # only what expires may be evicted: a broker's queues never do
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "volatile-lru"}


@pytest.mark.slow
def test_only_its_user_reaches_it(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, durable=False) as addresses:
        sockets = Path(parse_qs(urlsplit(addresses.database_url).query)["host"][0])
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert stat.S_IMODE((data_dir / "embedded").stat().st_mode) == 0o700
        for secret in (data_dir / "embedded").glob("*.password"):
            assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        for pid in pids(addresses):
            listening = [
                connection
                for connection in psutil.Process(pid).net_connections()
                if connection.status == psutil.CONN_LISTEN
            ]
            assert listening == [], "no TCP"
        login = urlsplit(addresses.database_url)
        for stranger in (f"vision:wrong@/vision?{login.query}", f"vision@/vision?{login.query}"):
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(f"postgresql://{stranger}").close()
        with pytest.raises(psycopg.OperationalError):  # nor is there a way in for the superuser
            psycopg.connect(f"postgresql://postgres:{login.password}@/postgres?{login.query}").close()
        path = urlsplit(addresses.redis_url).path
        with pytest.raises(redis.AuthenticationError), redis.Redis(unix_socket_path=path) as client:
            client.ping()


def test_no_password_is_on_any_command_line_or_in_a_log(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, durable=False) as addresses:
        passwords = [urlsplit(url).password or "" for url in (addresses.database_url, addresses.redis_url)]
        assert all(len(password) >= 32 for password in passwords)
        lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
        logs = [log.read_text() for log in (data_dir / "embedded").glob("*.log")]
        for password in passwords:
            assert not any(password in text for text in (*lines, *logs, repr(addresses)))


def test_the_servers_are_out_of_reach_of_the_terminals_signals(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, durable=False) as addresses:
        for pid in pids(addresses):
            assert os.getsid(pid) == pid


def test_the_last_of_several_users_stops_the_servers(data_dir: Path) -> None:
    first, second = EmbeddedServers(data_dir, durable=False), EmbeddedServers(data_dir, durable=False)
    addresses = first.start()
    assert second.start() == addresses == first.start()
    other, others = hold(data_dir)
    assert others == addresses
    running = pids(addresses)
    first.stop()
    second.stop()
    assert pids(addresses) == running
    let_go(other)
    assert all(has_ended(pid) for pid in running)
    second.stop()


@pytest.mark.slow
def test_several_processes_make_a_data_folder_at_once_whatever_its_path(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    parent = closed / ("two words, a comma, % and 'ünïcode' " + "x" * 90)
    parent.mkdir(mode=0o755)
    before = modes(parent)
    held = [hold(parent / "data") for _ in range(3)]
    assert len({pids(addresses) for _, addresses in held}) == 1
    for process, _ in held:
        let_go(process)
    with EmbeddedServers(parent / "data", durable=False) as addresses:
        pids(addresses)
    assert modes(parent) == before, "no mode of a folder that was there changes"
    purge(parent / "data")


def test_given_urls_start_nothing_and_touch_nothing(tmp_path: Path) -> None:
    with EmbeddedServers(
        tmp_path / "data", database_url="postgresql://a", redis_url="redis://b"
    ) as addresses:
        assert addresses == Addresses("postgresql://a", "redis://b")
    assert not (tmp_path / "data").exists()


def test_one_given_url_starts_only_the_other(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with EmbeddedServers(data_dir, database_url="postgresql://a") as addresses:
        assert addresses.database_url == "postgresql://a"
        with redis.Redis.from_url(addresses.redis_url) as client:
            assert client.ping()
    assert not (data_dir / "postgres").exists()
    purge(data_dir)


def test_a_folder_of_another_postgresql_is_refused_and_kept(data_dir: Path) -> None:
    with (
        EmbeddedServers(data_dir, durable=False) as addresses,
        psycopg.connect(addresses.database_url) as connection,
    ):
        row = connection.execute("SELECT oid FROM pg_database WHERE datname = 'vision'").fetchone()
    version = next(iter(cluster_of(data_dir).glob("PG_VERSION")))
    version.write_text("17\n")
    with pytest.raises(DataVersionError, match="PostgreSQL 17"):
        EmbeddedServers(data_dir, durable=False).start()
    version.write_text("18\n")
    with (
        EmbeddedServers(data_dir, durable=False) as addresses,
        psycopg.connect(addresses.database_url) as connection,
    ):
        assert connection.execute("SELECT oid FROM pg_database WHERE datname = 'vision'").fetchone() == row


def test_a_state_folder_that_others_can_enter_is_refused_not_repaired(tmp_path: Path) -> None:
    state = tmp_path / "data" / "embedded"
    state.mkdir(parents=True)
    state.chmod(0o755)
    with pytest.raises(FolderError, match="chmod 700"):
        EmbeddedServers(tmp_path / "data").start()
    assert stat.S_IMODE(state.stat().st_mode) == 0o755


def test_a_state_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "embedded").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match="not a link"):
        EmbeddedServers(tmp_path / "data").start()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_nothing_is_removed_under_a_user(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, durable=False) as addresses:
        with pytest.raises(BusyError):
            purge(data_dir)
        pids(addresses)


def cluster_of(data_dir: Path) -> Path:
    """PostgreSQL's own folder, which for root lies elsewhere."""
    from app.embedded.layout import lay_out

    return lay_out(data_dir).cluster


def test_the_sockets_address_fits(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, durable=False) as addresses, socket.socket(socket.AF_UNIX) as client:
        client.connect(urlsplit(addresses.redis_url).path)
