"""A live service whose disk fills up, and that may open no more files: what clients are told, and that it passes."""

from __future__ import annotations

import io
import os
import resource
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from tests import shapes
from tests.cluster import FINISHED, until
from tests.disks import SmallDisk, small_disk
from tests.live import Live, run, serving

pytestmark = pytest.mark.slow


def noise() -> bytes:
    """A PNG of several MiB, too large to be kept in memory."""
    image = Image.frombytes("RGB", (1_000, 1_000), os.urandom(3_000_000))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("circle/one.png", noise())
    return out.getvalue()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with small_disk(tmp_path_factory.mktemp("small") / "disk") as disk:
        yield disk


@pytest.fixture(scope="module")
def live(disk: SmallDisk) -> Iterator[Live]:
    """A service, a worker beside it, and all they keep on the small disk."""
    with serving(
        disk.folder / "data",
        VISION_MIN_FREE_MB=str(disk.min_free_mb),
        VISION_WORKER="true",
        VISION_KEEP_ALIVE_S="60",
        VISION_JOB_WAIT_S="1",
        VISION_JOB_SWEEP_S="1",
        VISION_LOG_FORMAT="text",
    ) as live:
        with live.client() as client:
            for number in range(8):
                taught = teach(client, shapes.data(number), "circle" if number % 2 else "square")
                taught.raise_for_status()
        yield live


@pytest.fixture
def client(live: Live, disk: SmallDisk) -> Iterator[httpx.Client]:
    with live.client(keep_s=60) as client:
        yield client
    disk.clear()


def teach(client: httpx.Client, image: bytes, label: str = "circle") -> httpx.Response:
    return client.post("/v1/collections/default/examples", data={"label": label}, files={"images": image})


def classify(client: httpx.Client, image: bytes) -> httpx.Response:
    return client.post("/v1/classify", files={"image": image})


def send_dataset(client: httpx.Client) -> httpx.Response:
    return client.post("/v1/datasets", data={"name": "noise"}, files={"archive": archive()})


def send_model(client: httpx.Client) -> httpx.Response:
    return client.post("/v1/models", data={"name": "noise"}, files={"archive": archive()})


def readiness(client: httpx.Client) -> httpx.Response:
    """What /readyz says once every check kept its two seconds, which a busy machine may not leave it."""
    seen: list[httpx.Response] = []

    def look() -> bool:
        seen.append(client.get("/readyz"))
        return "does not answer" not in seen[-1].text

    until(look, 60)
    return seen[-1]


def files(live: Live) -> list[str]:
    """All that is kept, and what was begun."""
    found = []
    for folder in ("blobs", "files", "tmp"):
        found += [str(path) for path in (live.data_dir / folder).rglob("*") if path.is_file()]
    return sorted(found)


def test_a_full_disk_is_507_and_not_ready_until_there_is_room(
    live: Live, disk: SmallDisk, client: httpx.Client
) -> None:
    before, shown = files(live), client.get("/v1/collections/default/examples").json()["data"]
    disk.fill()
    for send in (
        lambda: teach(client, shapes.data(20)),
        lambda: teach(client, noise()),
        lambda: classify(client, noise()),
        lambda: send_dataset(client),
        lambda: send_model(client),
    ):
        reply = send()
        assert (reply.status_code, reply.json()["error"]["code"]) == (507, "insufficient_storage"), reply.text
        assert "has no room" in reply.json()["detail"]
        assert "VISION_MIN_FREE_MB" in reply.json()["detail"]
        assert reply.headers["retry-after"]
    ready = readiness(client)
    assert ready.status_code == 503
    assert ready.json()["checks"] == {
        "database": "ok",
        "redis": "ok",
        "model": "ok",
        "disk": ready.json()["checks"]["disk"],
    }
    assert "MB free" in ready.json()["detail"]
    assert client.get("/healthz").is_success
    assert classify(client, shapes.data(1)).is_success, "what writes nothing goes on"
    assert files(live) == before, "nothing half written stays"
    assert client.get("/v1/collections/default/examples").json()["data"] == shown

    disk.clear()
    assert readiness(client).json()["checks"]["disk"] == "ok"
    assert teach(client, shapes.data(20)).status_code == 201
    assert classify(client, noise()).is_success


def test_a_job_waits_for_room_uncharged_and_then_ends_well(
    live: Live, disk: SmallDisk, client: httpx.Client
) -> None:
    disk.fill()
    body = {
        "strategy": "prototypical_fewshot",
        "base_model": "lite",
        "params": {"steps": 20, "checkpoint_every": 10, "evaluate_every": 20, "augment": False},
    }
    asked = client.post("/v1/jobs", json=body)
    assert asked.status_code == 202, asked.text
    job = asked.json()["id"]

    def look() -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/v1/jobs/{job}").json()
        return found

    def put_off_now() -> dict[str, Any] | None:
        found = look()
        return found if found["not_before"] else None

    def show_put_off() -> str | None:
        said = run("jobs", "show", job, "--server", live.url).stdout
        return said if "queued, put off until" in said else None

    put_off = until(put_off_now)
    assert put_off is not None
    assert (put_off["state"], put_off["attempt"]) == ("queued", 0)
    assert put_off["error"]["status"] == 507
    assert "has no room" in put_off["error"]["detail"]
    shown = until(show_put_off)  # every second a worker tries again
    assert shown is not None
    assert "has no room" in shown
    disk.clear()
    until(lambda: look()["state"] in FINISHED)
    ended = look()
    assert (ended["state"], ended["attempt"], ended["error"]) == ("succeeded", 1, None)
    assert ended["not_before"] is None


@contextmanager
def no_file_to_open(live: Live) -> Iterator[None]:
    """For a block, the service may open nothing."""
    process = psutil.Process(live.process.pid)
    before = process.rlimit(resource.RLIMIT_NOFILE)
    process.rlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        process.rlimit(resource.RLIMIT_NOFILE, before)


def has_files_again(live: Live) -> bool:
    """Whether the service has noticed the end of every time in which it could open nothing."""
    log = live.log.read_bytes()
    return log.count(b"no further file can be opened") == log.count(b"files can be opened again")


@pytest.mark.parametrize(
    "send",
    [lambda client: classify(client, noise()), send_dataset, send_model],
    ids=["image", "dataset", "model"],
)
def test_without_a_file_to_open_uploads_are_503_and_then_accepted(
    live: Live, client: httpx.Client, send: Callable[[httpx.Client], httpx.Response]
) -> None:
    assert client.get("/healthz").is_success  # the connection is there
    with no_file_to_open(live):
        reply = send(client)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "too_many_open_files"), reply.text
    assert "ulimit -n" in reply.json()["detail"]
    assert classify(client, noise()).is_success


def test_who_connects_while_no_file_may_be_opened_is_answered_later(live: Live) -> None:
    until(lambda: has_files_again(live))  # or this time would count as a part of the time before
    size = live.log.stat().st_size
    kept = httpx.Limits(keepalive_expiry=60)
    with httpx.Client(base_url=live.url, timeout=60, limits=kept) as known:
        known.get("/healthz").raise_for_status()
        with no_file_to_open(live):
            with pytest.raises(httpx.TimeoutException):
                httpx.get(f"{live.url}/healthz", timeout=5)
            until(lambda: b"no further file can be opened" in live.log.read_bytes()[size:])
            said = live.log.read_bytes()[size:]
            assert said.count(b"no further file can be opened") == 1  # not thousands of times
            assert len(said) < 1_000_000
            assert known.get("/healthz").is_success, "who is connected is served meanwhile"
    with live.client() as late:
        assert late.get("/healthz").is_success
