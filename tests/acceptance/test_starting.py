"""What `vision serve` says when it cannot start, and how it ends when it is told to before it has."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from app.embedded import Addresses, EmbeddedServers
from app.embedded.running import running_server
from tests.integration.embedded.test_embedded import eventually, has_ended, pids
from tests.live import VISION, Live, environment, launch, run


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"VISION_DATABASE_URL": "postgresql://me:s3cret@127.0.0.1:1/pictures"}, "'pictures' at 127.0.0.1:1"),
        ({"VISION_DATABASE_URL": "mysql://me:s3cret@127.0.0.1/pictures"}, "must look like postgresql://"),
        ({"VISION_REDIS_URL": "redis://:s3cret@127.0.0.1:1/0"}, "Redis at 127.0.0.1:1"),
        ({"VISION_REDIS_URL": "http://:s3cret@127.0.0.1:1/0"}, "Redis at 127.0.0.1:1"),
        ({"VISION_HOST": "no-such-host.invalid"}, "no-such-host.invalid is not known"),
        ({"VISION_HOST": "203.0.113.1"}, "Cannot listen on 203.0.113.1"),
    ],
)
def test_what_prevents_a_start_is_one_sentence(
    servers: Addresses, migrated: str, tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    good = {"VISION_DATABASE_URL": migrated, "VISION_REDIS_URL": servers.redis_url}
    done = run("serve", "--port", "0", "--data-dir", tmp_path / "data", **(good | settings))
    assert done.returncode == 1, done.stderr
    assert words in done.stderr
    assert "s3cret" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "data" / "embedded").exists(), "nothing embedded was started"


def test_a_data_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("serve", "--port", "0", "--data-dir", tmp_path / "file" / "data")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert str(tmp_path / "file" / "data") in done.stderr


@pytest.mark.parametrize(
    "how",
    [signal.SIGTERM, *(pytest.param(how, marks=pytest.mark.slow) for how in (signal.SIGINT, signal.SIGHUP))],
)
def test_told_to_stop_while_starting_it_stops_in_order(tmp_path: Path, how: signal.Signals) -> None:
    live = launch(tmp_path / "data")
    deadline = time.monotonic() + 60
    while "Starting the databases" not in live.log.read_text():
        assert time.monotonic() < deadline, live.log.read_text()
        time.sleep(0.01)
    assert live.stop(how) == 0, live.log.read_text()
    assert "Traceback" not in live.log.read_text()
    assert_stopped(live)


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait_for_requests(tmp_path: Path) -> None:
    with (
        listening(tmp_path / "data", VISION_SHUTDOWN_GRACE_S="60") as live,
        socket.create_connection(("127.0.0.1", live.port)) as slow,
    ):
        # a body that never comes keeps a request under way, once it is waited for
        slow.settimeout(60)
        slow.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert slow.recv(1_000).startswith(b"HTTP/1.1 100 ")
        live.process.send_signal(signal.SIGINT)
        eventually(lambda: "Shutting down" in live.log.read_text())
        began = time.monotonic()
        live.process.send_signal(signal.SIGINT)
        assert live.process.wait(60) == 130
        assert time.monotonic() - began < 30
    assert_stopped(live)


@pytest.mark.slow
def test_two_services_share_one_data_folder(tmp_path: Path) -> None:
    with listening(tmp_path / "data") as one, listening(tmp_path / "data") as two:
        assert one.stop() == 0
        with two.client() as client:
            # a busy machine may keep one of the databases waiting for a moment
            heard = {"", "Not ready: model: loading."}
            eventually(lambda: client.get("/readyz").json().get("detail", "") in heard)
        assert two.stop() == 0
    assert_stopped(two)


@pytest.mark.slow
def test_given_databases_are_left_running_and_port_0_is_free(addresses: Addresses, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    urls = {"VISION_DATABASE_URL": addresses.database_url, "VISION_REDIS_URL": addresses.redis_url}
    with subprocess.Popen(
        [VISION, "serve", "--port", "0", "--data-dir", str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(**urls),
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        url = next(line.split()[2].rstrip(",") for line in process.stdout if line.startswith("Listening on"))
        assert running_server(data_dir) == url
        note = json.loads((data_dir / "server.json").read_text())
        assert note["pid"] == process.pid
        process.terminate()
        process.stdout.read()
    assert process.returncode == 0
    assert not (data_dir / "server.json").exists()
    assert not (data_dir / "embedded").exists()
    with psycopg.connect(addresses.database_url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone()


@contextmanager
def listening(data_dir: Path, **extra: str) -> Iterator[Live]:
    """A service that answers, its model perhaps not loaded yet."""
    live = launch(data_dir, **extra)

    def answers() -> bool:
        assert live.process.poll() is None, live.log.read_text()
        with suppress(httpx.HTTPError):
            return httpx.get(f"{live.url}/healthz", timeout=5).is_success
        return False

    try:
        eventually(answers, 90)
        yield live
    finally:
        if live.process.poll() is None:
            live.stop()


def assert_stopped(live: Live) -> None:
    """No embedded server of the service is left: a new user of its folder is the only one."""

    def is_alone() -> bool:
        named = (process for process in psutil.process_iter(["cmdline"]))
        users = [user for user in named if str(live.data_dir) in " ".join(user.info["cmdline"] or [])]
        return all(has_ended(user.pid) for user in users)

    eventually(is_alone)
    servers = EmbeddedServers(live.data_dir)
    try:
        servers.start()
        # started by this process, so not left over by another
        assert all(psutil.Process(pid).ppid() == os.getpid() for pid in pids(servers.start()))
    finally:
        servers.stop()
