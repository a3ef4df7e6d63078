"""Jobs over HTTP: asked for once, followed from anywhere, stopped and retried."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import pytest

from app.bootstrap import Services
from app.jobs.queueing import JobQueue
from app.jobs.streaming import Followers
from tests.conftest import ClientMaker
from tests.jobs import TRAIN, claim_job, read_events, train
from tests.learning import get_json, picture, teach


@pytest.fixture
async def taught(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client whose default collection has two labels of three images."""
    for number, label in enumerate(("mug", "plate")):
        await teach(client, label, *[picture(10 * number + i) for i in range(3)])
    return client


async def test_a_job_says_what_it_will_do(taught: httpx.AsyncClient, services: Services) -> None:
    deadline = time.monotonic() + 60
    while (job := await train(taught, {**TRAIN, "name": "my-mugs", "seed": 7}))["served"] is None:
        # Redis did not answer within its second, and is left alone for a moment
        assert time.monotonic() < deadline, job
        await asyncio.sleep(0.1)
    assert job["state"] == "queued"
    assert (job["kind"], job["task"], job["method"], job["base_model"]) == (
        "train",
        "classification",
        "lora",
        "lite",
    )
    assert (job["collection"], job["dataset"], job["name"], job["seed"]) == ("default", None, "my-mugs", 7)
    assert job["params"]["steps"] == 10
    assert job["params"]["validation_share"] == 0.2  # defaults are filled in
    assert (job["queue"], job["served"]) == ("cpu", False), "no worker listens in this test"
    while (page := await get_json(taught, f"/v1/jobs/{job['id']}"))["served"] is None:
        assert time.monotonic() < deadline, page
        await asyncio.sleep(0.1)
    assert page == {**job, "result": None, "artifacts": []}
    other = await train(taught)
    assert other["name"] == "default-lite-fewshot"


async def test_the_same_key_and_body_is_the_same_job(taught: httpx.AsyncClient) -> None:
    first = await train(taught, **{"Idempotency-Key": "a"})
    again, *more = await asyncio.gather(*[train(taught, **{"Idempotency-Key": "a"}) for _ in range(4)])
    assert {job["id"] for job in (again, *more)} == {first["id"]}
    assert (await train(taught, **{"Idempotency-Key": "b"}))["id"] != first["id"]
    other = await taught.post("/v1/jobs", json={**TRAIN, "seed": 1}, headers={"Idempotency-Key": "a"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    raced = await asyncio.gather(*[train(taught, **{"Idempotency-Key": "c"}) for _ in range(4)])
    assert len({job["id"] for job in raced}) == 1


async def test_jobs_are_listed_newest_first_by_state(taught: httpx.AsyncClient, services: Services) -> None:
    made = [(await train(taught))["id"] for _ in range(3)]
    await claim_job(services, {"id": made[1]})
    listed, cursor = [], None
    while True:
        page = await get_json(taught, "/v1/jobs", limit=2, **({"cursor": cursor} if cursor else {}))
        listed += [job["id"] for job in page["data"]]
        if not (cursor := page["next"]):
            break
    assert listed == made[::-1]
    assert [job["id"] for job in (await get_json(taught, "/v1/jobs", state="running"))["data"]] == [made[1]]
    assert (await taught.get("/v1/jobs", params={"state": "odd"})).status_code == 422
    assert (await taught.get("/v1/jobs", params={"cursor": "bm8"})).status_code == 422


async def test_a_followed_job_tells_everything_once_and_ends(
    taught: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    job = await train(taught)
    following = asyncio.create_task(taught.get(f"/v1/jobs/{job['id']}/events", timeout=120))
    owner = await claim_job(services, job)
    await owner.step(1, 2, 3.5, loss=0.5)
    page = await get_json(taught, f"/v1/jobs/{job['id']}")
    assert (page["state"], page["phase"], page["attempt"]) == ("running", "fitting", 1)
    assert page["progress"] == {"step": 1, "of": 2, "eta_s": 3.5}
    assert page["metrics"] == {"loss": 0.5}
    await owner.log('two lines\u2028in "one"\n')
    await owner.step(2, 2, 0.0, loss=0.25)
    await owner.succeed("my-mugs", {"vision.json": b"{}", "lora/a.bin": b"12345"}, tmp_path)
    reply = await following
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = read_events(reply.text)
    kept = [(name, data.get("state") or data.get("step")) for _, name, data in events if name != "progress"]
    assert kept == [
        ("state", "queued"),
        ("state", "running"),
        ("metric", 1),
        ("log", None),
        ("metric", 2),
        ("state", "succeeded"),
    ]
    assert reply.text.isascii()  # some clients take U+2028 for the end of a line
    # progress that came and went between two reads is not reported
    assert [data["step"] for _, name, data in events if name == "progress"][-1] == 2
    numbers = [number for number, _, _ in events]
    assert numbers == sorted(set(numbers))
    # going on from any event gives exactly the rest
    rest = await taught.get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": str(numbers[1])})
    assert [event for event in read_events(rest.text) if event[1] != "progress"] == [
        event for event in events[2:] if event[1] != "progress"
    ]
    end = await taught.get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": str(numbers[-1])})
    assert (end.status_code, end.content) == (204, b""), "a browser would come back for ever"
    odd = await taught.get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": "x"})
    assert odd.status_code == 422


async def test_files_of_a_job_are_listed_and_downloaded(
    taught: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    job = await train(taught)
    owner = await claim_job(services, job)
    await owner.succeed("my-mugs", {"vision.json": b"{}", "lora/a.bin": b"12345"}, tmp_path)
    page = await get_json(taught, f"/v1/jobs/{job['id']}")
    assert (page["state"], page["model"], page["result"]) == ("succeeded", "my-mugs", {"accuracy": 0.9})
    assert page["artifacts"] == (await get_json(taught, f"/v1/jobs/{job['id']}/artifacts"))["data"]
    assert [(artifact["name"], artifact["size"]) for artifact in page["artifacts"]] == [
        ("lora/a.bin", 5),
        ("vision.json", 2),
    ]
    reply = await taught.get(page["artifacts"][0]["url"])
    assert (reply.content, reply.headers["content-length"]) == (b"12345", "5")
    assert reply.headers["content-disposition"].startswith("attachment")
    for name in ("nothing.bin", "lora", "../vision.json", "%2e%2e/vision.json", "a%00b"):
        assert (await taught.get(f"/v1/jobs/{job['id']}/artifacts/{name}")).status_code == 404
    services.files.delete(f"jobs/{job['id']}")
    gone = await taught.get(page["artifacts"][0]["url"])
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "artifact_not_found")


async def test_cancel_is_at_once_or_soon_and_retry_starts_over(
    taught: httpx.AsyncClient, services: Services
) -> None:
    job = await train(taught)
    path = f"/v1/jobs/{job['id']}"
    for _ in range(2):  # the second time it is cancelled already
        stopped = await taught.post(f"{path}/cancel")
        assert (stopped.status_code, stopped.json()["state"]) == (200, "cancelled")
    again = await taught.post(f"{path}/retry")
    assert (again.status_code, again.json()["state"]) == (202, "queued")
    assert (await taught.post(f"{path}/retry")).json()["error"]["code"] == "job_state"
    owner = await claim_job(services, job)
    asked = (await taught.post(f"{path}/cancel")).json()
    assert (asked["state"], asked["cancelling"]) == ("running", True)
    await owner.stop()
    page = await get_json(taught, path)
    assert (page["state"], page["cancelling"], page["phase"]) == ("cancelled", False, None)
    # a stream goes past the ends of earlier attempts
    events = read_events((await taught.get(f"{path}/events")).text)
    states = [data["state"] for _, name, data in events if name == "state"]
    assert states == ["queued", "cancelled", "queued", "running", "cancelled"]


async def test_a_failed_job_says_why_as_a_problem(taught: httpx.AsyncClient, services: Services) -> None:
    job = await train(taught)
    await (await claim_job(services, job)).fail("not_trainable", "Every image is the same.")
    page = await get_json(taught, f"/v1/jobs/{job['id']}")
    assert page["state"] == "failed"
    assert (page["error"]["status"], page["error"]["detail"]) == (422, "Every image is the same.")
    assert page["error"]["error"]["code"] == "not_trainable"
    assert (await taught.post(f"/v1/jobs/{job['id']}/cancel")).status_code == 409
    other = await train(taught)
    await (await claim_job(services, other)).fail("worker_lost", "The process died.")
    error = (await get_json(taught, f"/v1/jobs/{other['id']}"))["error"]
    assert (error["status"], error["error"]["code"]) == (500, "worker_lost")


async def test_metrics_are_thinned_out_and_the_last_attempt_counts(
    taught: httpx.AsyncClient, services: Services
) -> None:
    job = await train(taught)
    owner = await claim_job(services, job)
    await owner.steps([(step, {"loss": 100.0 - step}) for step in range(1, 101)])
    await owner.steps([(100, {"loss": 7.0, "accuracy": 0.5})])
    path = f"/v1/jobs/{job['id']}/metrics"
    accuracy, loss = (await get_json(taught, path))["data"]
    assert accuracy == {"name": "accuracy", "steps": [100], "values": [0.5], "total": 1}
    assert loss["steps"] == list(range(1, 101))
    assert loss["values"][-2:] == [1.0, 7.0]
    for points in (2, 3, 10, 99):
        _, few = (await get_json(taught, path, points=points))["data"]
        assert few["total"] == 100
        assert points - 1 <= len(few["steps"]) <= points
        assert (few["steps"][0], few["steps"][-1]) == (1, 100)
        gaps = [b - a for a, b in zip(few["steps"], few["steps"][1:], strict=False)]
        assert max(gaps) <= 2 * min(gaps)
    assert (await taught.get(path, params={"points": 10**6})).status_code == 422


async def test_workspaces_and_scopes_are_kept_apart(
    taught: httpx.AsyncClient, make_client: ClientMaker
) -> None:
    job = await train(taught, **{"Idempotency-Key": "mine"})
    stranger = await make_client()
    for method, path in (
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/metrics"),
        ("GET", "/artifacts"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
    ):
        reply = await stranger.request(method, f"/v1/jobs/{job['id']}{path}")
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "job_not_found")
    assert (await stranger.get("/v1/jobs/no-id")).status_code == 404
    assert (await get_json(stranger, "/v1/jobs"))["data"] == []
    reader = await make_client(scopes=("recognise",))
    assert (await reader.get("/v1/jobs")).status_code == 200
    assert (await reader.post("/v1/jobs", json=TRAIN)).status_code == 403


async def test_too_many_open_jobs_and_followers_are_told_to_wait(
    taught: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, other = await train(taught, **{"Idempotency-Key": "a"}), await train(taught)
    assert (await taught.post(f"/v1/jobs/{other['id']}/cancel")).is_success
    monkeypatch.setattr(services.settings.jobs, "max_open_jobs", 1)
    assert (await taught.post(f"/v1/jobs/{other['id']}/retry")).json()["error"]["code"] == "overloaded"
    assert (await taught.post(f"/v1/jobs/{job['id']}/retry")).json()["error"]["code"] == "job_state"
    assert (await train(taught, **{"Idempotency-Key": "a"}))["id"] == job["id"]
    full = await taught.post("/v1/jobs", json=TRAIN)
    assert (full.status_code, full.json()["error"]["code"]) == (503, "overloaded")
    assert int(full.headers["retry-after"]) > 0
    monkeypatch.setattr(
        services, "followers", Followers(services.database, poll_s=0.05, most=1, most_of_one=9)
    )
    following = asyncio.create_task(taught.get(f"/v1/jobs/{job['id']}/events", timeout=120))
    async with asyncio.timeout(60):
        while not services.followers._tallies.get("followers").total:
            await get_json(taught, "/v1/jobs")
    late = await taught.get(f"/v1/jobs/{job['id']}/events")
    assert late.status_code == 503
    services.followers.close()  # what stopping the service does
    assert read_events((await following).text)[-1][2]["state"] == "queued"


async def test_a_broker_that_is_away_loses_no_job(
    taught: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    away = JobQueue(f"unix://{tmp_path}/nobody.sock?db=0")
    monkeypatch.setattr(services.jobs, "_queue", away)
    job = await train(taught)
    assert (await get_json(taught, f"/v1/jobs/{job['id']}"))["state"] == "queued"


async def test_another_encoder_is_a_job(taught: httpx.AsyncClient, services: Services) -> None:
    path = "/v1/collections/default"
    for body, status, word in (
        ({"encoder": "lite"}, 409, "already"),
        ({"encoder": "google/anything"}, 404, "no model"),
        ({"encoder": "llava-shapes"}, 404, "no model"),
        ({"name": "other"}, 422, "no such field"),
        ({}, 422, "encoder"),
    ):
        refused = await taught.patch(path, json=body)
        assert (refused.status_code, word in refused.json()["detail"]) == (status, True), refused.text
    reply = await taught.patch(path, json={"encoder": "clip-tiny"})
    assert reply.status_code == 202, reply.text
    job = reply.json()
    assert reply.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["base_model"], job["collection"]) == ("reembed", "clip-tiny", "default")
    again = await taught.patch(path, json={"encoder": "clip-tiny"})
    assert again.status_code == 409
    assert job["id"] in again.json()["detail"]
    # until it is done everything goes on as before
    assert (await get_json(taught, path))["encoder"] == "lite"
    await teach(taught, "bowl", picture(99))
