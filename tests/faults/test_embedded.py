"""What can go wrong with the embedded servers does: killed at any moment, stale files, lost sockets."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from app.embedded import EmbeddedServers, purge
from app.embedded.folders import private_folder
from app.embedded.layout import lay_out
from app.embedded.processes import launch
from tests.integration.embedded.test_embedded import HOLD, eventually, has_ended, hold, let_go, pids

WRITE = """
import sys
from pathlib import Path
import psycopg
from app.embedded import EmbeddedServers
addresses = EmbeddedServers(Path(sys.argv[1])).start()
with psycopg.connect(addresses.database_url, autocommit=True) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS kept (id bigserial PRIMARY KEY)")
    while True:
        print(*connection.execute("INSERT INTO kept DEFAULT VALUES RETURNING id").fetchone(), flush=True)
"""

WRITE_ON = 'while true; do true >"${1:-$PGDATA}/$(date +%N)"; sleep 0.01; done'
"""What an initdb does whose parent is gone, in a shell: it writes into its cluster."""


def watcher_of(pid: int) -> int:
    """Process id of the watcher that a user of the servers has started; 0 where there is none."""
    for child in psutil.Process(pid).children():
        with suppress(psutil.Error):
            if any(part.endswith("watcher.py") for part in child.cmdline()):
                return child.pid
    return 0


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a user of the servers, with its watcher: that would stop what nobody uses half a minute later, in some other
    test.
    """
    watcher = watcher_of(process.pid)
    with process:
        process.kill()
    if watcher:
        with suppress(ProcessLookupError):
            os.kill(watcher, signal.SIGKILL)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder that has been used before; nothing runs in it between tests."""
    data_dir = tmp_path_factory.mktemp("faults")
    with EmbeddedServers(data_dir, durable=False):
        pass
    yield data_dir
    purge(data_dir)


def test_a_killed_user_leaves_servers_that_the_next_one_joins_and_stops(data_dir: Path) -> None:
    process, addresses = hold(data_dir)
    running = pids(addresses)
    kill(process)
    with EmbeddedServers(data_dir, durable=False) as joined:
        assert joined == addresses
        assert pids(joined) == running
    assert all(has_ended(pid) for pid in running)


def test_the_servers_of_a_killed_user_end_by_themselves(data_dir: Path) -> None:
    process, addresses = hold(data_dir, linger_s=0.5)
    running = pids(addresses)
    with process:
        process.kill()
    eventually(lambda: all(has_ended(pid) for pid in running), 60)


def test_servers_that_another_one_uses_outlive_a_killed_user(data_dir: Path) -> None:
    process, addresses = hold(data_dir, linger_s=0.0)
    watcher = watcher_of(process.pid)
    with EmbeddedServers(data_dir, durable=False) as joined:
        running = pids(addresses)
        with process:
            process.kill()
        eventually(lambda: has_ended(watcher), 60)  # it has looked, and left
        assert pids(joined) == running
    assert all(has_ended(pid) for pid in running), "whoever leaves last stops them"


def test_a_user_that_leaves_in_order_leaves_no_watcher(data_dir: Path) -> None:
    process, _ = hold(data_dir)
    watcher = watcher_of(process.pid)
    let_go(process)
    assert has_ended(watcher)


def test_a_watcher_that_was_killed_is_replaced(data_dir: Path) -> None:
    process, _ = hold(data_dir)
    first = watcher_of(process.pid)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: watcher_of(process.pid) not in (0, first), 30)
    let_go(process)


def test_everything_killed_while_writing_loses_no_committed_row(data_dir: Path) -> None:
    written: list[int] = []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE, str(data_dir)], stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                written.append(int(line))
                if len(written) % 100 == 0:
                    break
            # its lock goes with it, and a second user takes the servers over and kills them in turn
            kill(process)
        servers = EmbeddedServers(data_dir)
        postmaster, valkey = pids(servers.start())
        os.kill(postmaster, signal.SIGKILL)
        os.kill(valkey, signal.SIGKILL)
        eventually(lambda both=(postmaster, valkey): all(has_ended(pid) for pid in both))  # type: ignore[misc]
        servers.stop()
        with EmbeddedServers(data_dir) as addresses, psycopg.connect(addresses.database_url) as connection:
            kept = {row[0] for row in connection.execute("SELECT id FROM kept")}
            assert set(written) <= kept


def test_a_server_that_dies_is_started_again_while_in_use(data_dir: Path) -> None:
    with EmbeddedServers(data_dir, durable=False) as addresses:
        before = pids(addresses)
        for pid in before:
            os.kill(pid, signal.SIGKILL)

        def answers() -> bool:
            with suppress(psycopg.OperationalError, redis.ConnectionError):
                return not set(before) & set(pids(addresses))
            return False

        eventually(answers, 30)


@pytest.mark.slow
def test_a_hung_valkey_is_replaced_at_the_next_start(data_dir: Path) -> None:
    process, addresses = hold(data_dir)
    running = pids(addresses)
    kill(process)
    os.kill(running[1], signal.SIGSTOP)
    with EmbeddedServers(data_dir, durable=False) as joined:
        assert pids(joined)[0] == running[0]
        assert has_ended(running[1])


def test_a_stale_lock_file_whose_number_is_another_process_now(data_dir: Path) -> None:
    layout = lay_out(data_dir)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        note = layout.cluster / "postmaster.pid"
        note.write_text(f"{stranger.pid}\n{layout.cluster}\n1\n5432\n{layout.sockets}\n\n\nready\n")
        (layout.sockets / "valkey.pid").write_text(f"{stranger.pid}\n")
        with EmbeddedServers(data_dir, durable=False) as addresses:
            pids(addresses)
        assert stranger.poll() is None, "nobody else's process is touched"
        stranger.kill()


@pytest.mark.slow
def test_a_start_killed_at_any_moment_leaves_a_folder_that_starts(tmp_path: Path) -> None:
    draw = random.Random(5)
    for number in range(3):
        data_dir = tmp_path / str(number)
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        with process:
            # from where the first folder stands, initdb takes about half a second
            eventually(lambda state=data_dir / "embedded" / "lock": state.exists())  # type: ignore[misc]
            time.sleep(draw.uniform(0.05, 0.8))
            process.kill()
        with EmbeddedServers(data_dir, durable=False) as addresses:
            pids(addresses)
        assert list(lay_out(data_dir).cluster.parent.glob("postgres.new-*")) == []
        purge(data_dir)


@pytest.mark.parametrize("told_by", ["argument", "variable"])
def test_what_a_killed_start_left_running_ends_before_its_cluster_is_removed(
    data_dir: Path, told_by: str
) -> None:
    layout = lay_out(data_dir)
    leftover = private_folder(layout.cluster.with_name("postgres.new-left"), layout.account)
    # initdb is told of its cluster by an argument, what it starts by a variable
    words = ["sh", "-c", WRITE_ON, "sh", str(leftover)]
    if told_by == "variable":
        words = ["env", f"PGDATA={leftover}", "sh", "-c", WRITE_ON]
    writer = launch(words, log=data_dir / "writer.log", account=layout.account)
    stranger = launch(["sleep", "60"], log=data_dir / "writer.log", account=layout.account)
    try:
        eventually(lambda: any(leftover.iterdir()))
        with EmbeddedServers(data_dir, durable=False) as addresses:
            assert has_ended(writer.pid)
            assert not leftover.exists()
            assert not has_ended(stranger.pid)
            pids(addresses)
    finally:
        for process in (writer, stranger):
            process.kill()
        writer.wait()
        shutil.rmtree(leftover, ignore_errors=True)


def test_lost_sockets_and_a_lost_password_are_made_again(data_dir: Path) -> None:
    process, addresses = hold(data_dir)
    with psycopg.connect(addresses.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS precious (id int)")
    kill(process)
    layout = lay_out(data_dir)
    running = pids(addresses)
    shutil.rmtree(layout.sockets)
    with EmbeddedServers(data_dir, durable=False) as joined:
        assert not set(running) & set(pids(joined))
        assert all(has_ended(pid) for pid in running), "what nobody can reach any more does not run on"
    (layout.state / "postgres.password").unlink()
    with (
        EmbeddedServers(data_dir, durable=False) as joined,
        psycopg.connect(joined.database_url) as connection,
    ):
        assert joined != addresses
        connection.execute("SELECT * FROM precious")


def test_a_moved_data_folder_takes_its_database_along(data_dir: Path) -> None:
    process, addresses = hold(data_dir)
    with psycopg.connect(addresses.database_url) as connection:
        connection.execute("CREATE TABLE moved (id int)")
    let_go(process)
    elsewhere = data_dir.with_name("elsewhere")
    data_dir.rename(elsewhere)
    try:
        with (
            EmbeddedServers(elsewhere, durable=False) as moved,
            psycopg.connect(moved.database_url) as connection,
        ):
            connection.execute("SELECT * FROM moved")
    finally:
        elsewhere.rename(data_dir)
    with EmbeddedServers(data_dir, durable=False) as back, psycopg.connect(back.database_url) as connection:
        connection.execute("SELECT * FROM moved")
