"""How `vision serve` starts, stops, recovers and keeps to itself; and what commands do where none runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from app.embedded import Addresses
from tests.integration.embedded.test_embedded import has_ended
from tests.live import VISION, Live, environment, free_port, launch, run, serving
from tests.photos import encode_photo, photo


def teach(live: Live, name: str, label: str) -> str:
    """Teach one photo; the example's id."""
    with live.client() as client:
        reply = client.post(
            "/v1/collections/default/examples",
            data={"label": label},
            files={"images": encode_photo(photo(name))},
        )
    assert reply.status_code == 201, reply.text
    return str(reply.json()["data"][0]["id"])


def list_taught_ids(live: Live) -> list[str]:
    """Ids of every example of the default collection."""
    with live.client() as client:
        return [row["id"] for row in client.get("/v1/collections/default/examples").json()["data"]]


def assert_gone(pids: list[int], deadline_s: float = 60) -> None:
    """Fails when one of the processes outlives the deadline."""
    gone = time.monotonic() + deadline_s
    while alive := [pid for pid in pids if not has_ended(pid)]:
        assert time.monotonic() < gone, [psutil.Process(pid).cmdline() for pid in alive]
        time.sleep(0.05)


def test_stops_cleanly_and_keeps_what_it_learned(tmp_path: Path) -> None:
    live = launch(tmp_path / "data")
    live.wait_until_ready()
    example = teach(live, "chelsea", "cat")
    family = live.family()
    assert len(family) >= 3, "the service, its PostgreSQL and its Valkey"
    assert live.stop(signal.SIGTERM) == 0, live.log.read_text()
    assert_gone(family)
    said = live.log.read_text()
    assert "Traceback" not in said
    assert live.url in said
    assert "lite" in said
    assert "/docs" in said

    with serving(tmp_path / "data") as again:
        assert list_taught_ids(again) == [example]
        assert again.stop(signal.SIGINT) == 0, again.log.read_text()


@pytest.mark.slow
def test_recovers_after_kill_9_of_everything(tmp_path: Path) -> None:
    live = launch(tmp_path / "data")
    live.wait_until_ready()
    example = teach(live, "coffee", "coffee")
    for pid in live.family():
        with suppress(psutil.NoSuchProcess):  # some go with those that were killed before
            psutil.Process(pid).kill()
    live.process.wait(60)
    with serving(tmp_path / "data") as again:
        assert list_taught_ids(again) == [example]


@pytest.mark.slow
def test_two_services_side_by_side_share_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "one") as one, serving(tmp_path / "two") as two:
        first = teach(one, "chelsea", "cat")
        second = teach(two, "rocket", "rocket")
        assert list_taught_ids(one) == [first]
        assert list_taught_ids(two) == [second]
        one.stop()
        assert list_taught_ids(two) == [second]


@pytest.mark.slow
def test_a_taken_port_is_one_clear_line(service: Live, tmp_path: Path) -> None:
    done = run("serve", "--port", str(service.port), "--data-dir", tmp_path / "data")
    assert done.returncode != 0
    assert str(service.port) in done.stderr
    assert "Traceback" not in done.stderr


def test_refuses_to_listen_beyond_loopback_without_keys(tmp_path: Path) -> None:
    done = run("serve", "--host", "0.0.0.0", "--port", str(free_port()), "--data-dir", tmp_path / "data")
    assert done.returncode != 0
    assert "--no-auth" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_beyond_loopback_wants_the_key_that_the_first_start_wrote(tmp_path: Path, photos: Path) -> None:
    key_file = tmp_path / "key"
    settings = {"VISION_HOST": "0.0.0.0", "VISION_BOOTSTRAP_KEY_FILE": str(key_file)}
    with serving(tmp_path / "data", **settings) as live:
        assert key_file.stat().st_mode & 0o077 == 0
        admin = key_file.read_text().strip()
        at = ["--server", live.url]
        assert run("oneshot", "list-examples", *at).returncode == 1
        assert run("oneshot", "list-examples", *at, VISION_API_KEY=admin).returncode == 0

        made = run("keys", "create", "door camera", "--scope", "recognise", "--json", *at, "--api-key", admin)
        key = json.loads(made.stdout)
        image = ["--image", photos / "chelsea.jpg"]
        assert (
            run(
                "oneshot", "classify", *image, "--labels", "cat,dog", *at, VISION_API_KEY=key["key"]
            ).returncode
            == 0
        )
        refused = run("oneshot", "learn", *image, "--label", "cat", *at, VISION_API_KEY=key["key"])
        assert refused.returncode == 1
        listed = run("keys", "list", *at, "--api-key", admin)
        assert "door camera" in listed.stdout
        assert key["key"] not in listed.stdout
        assert run("keys", "revoke", key["id"], *at, "--api-key", admin).returncode == 0
        deadline = time.monotonic() + 60
        while (
            run(
                "oneshot", "classify", *image, "--labels", "cat,dog", *at, VISION_API_KEY=key["key"]
            ).returncode
            == 0
        ):
            assert time.monotonic() < deadline, "a revoked key still works"


@pytest.mark.slow
def test_commands_without_a_service_start_one_and_stop_it(tmp_path: Path, photos: Path) -> None:
    data = tmp_path / "data"
    learned = run("oneshot", "learn", "--image", photos / "chelsea.jpg", "--label", "cat", "--data-dir", data)
    assert learned.returncode == 0, learned.stderr
    left = [p.pid for p in psutil.process_iter(["cmdline"]) if str(data) in " ".join(p.info["cmdline"] or [])]
    assert_gone(left)
    with serving(data) as live:  # and they find the one that runs
        port = live.port
        done = run("oneshot", "classify", "--image", photos / "chelsea.jpg", "--data-dir", data)
        assert done.stdout.startswith("cat"), done.stderr
        assert "Starting" not in done.stderr
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=60).is_success


def test_a_service_that_cannot_start_tells_the_command_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("oneshot", "list-examples", "--data-dir", tmp_path / "file" / "data")
    assert done.returncode == 3
    assert "did not start" in done.stderr


def test_an_interrupted_command_takes_its_service_along(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = subprocess.Popen(
        [VISION, "oneshot", "list-examples", "--data-dir", str(data)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 90
    while not (children := psutil.Process(command.pid).children()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    command.kill()
    command.wait(60)
    assert_gone([child.pid for child in children], deadline_s=60)


@pytest.mark.slow
def test_help_imports_nothing_heavy_and_every_command_has_it() -> None:
    told = subprocess.run(
        [sys.executable, "-X", "importtime", VISION, "--help"], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.stderr.splitlines()}
    assert "typer" in imported
    assert imported.isdisjoint({"torch", "transformers", "onnxruntime", "sqlalchemy", "celery", "fastapi"})
    for words in [["serve"], ["migrate"], ["keys", "create"], ["oneshot", "learn"], ["collections", "list"]]:
        assert run(*words, "--help").returncode == 0


def test_migrate_brings_a_database_up_to_date_and_twice_is_harmless(tmp_path: Path) -> None:
    first = run("migrate", "--data-dir", tmp_path / "data")
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip()
    second = run("migrate", "--data-dir", tmp_path / "data")
    assert second.returncode == 0
    assert second.stdout.strip() == ""
    assert "up to date" in second.stderr


@pytest.mark.slow
def test_databases_given_by_url_are_used_and_left_running(tmp_path: Path, addresses: Addresses) -> None:
    urls = {"VISION_DATABASE_URL": addresses.database_url, "VISION_REDIS_URL": addresses.redis_url}
    migrated = run("migrate", **urls)
    assert migrated.returncode == 0, migrated.stderr
    with serving(tmp_path / "data", **urls) as live:
        names = {psutil.Process(pid).name() for pid in live.family()}
        assert not [name for name in names if "postgres" in name or "valkey" in name], (
            "no database of its own"
        )
        example = teach(live, "chelsea", "cat")
    with psycopg.connect(addresses.database_url) as connection:
        assert connection.execute("SELECT id::text FROM examples").fetchall() == [(example,)]
