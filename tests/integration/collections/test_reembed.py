"""A collection bound to another encoder while it is used: nothing is lost, and the swap is the owner's alone."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.bootstrap import Services
from tests import shapes
from tests.jobs import Owner
from tests.learning import ask, get_json, picture, teach
from tests.working import run_work
from workers.reembedding.job import reembed
from workers.shared.method import StoppingError
from workers.shared.store import LostError


async def queue_reembedding(client: httpx.AsyncClient, encoder: str) -> uuid.UUID:
    reply = await client.patch("/v1/collections/default", json={"encoder": encoder})
    assert reply.status_code == 202, reply.text
    return uuid.UUID(reply.json()["id"])


async def answer(client: httpx.AsyncClient, number: int, text_: str) -> dict[str, Any]:
    reply = await client.post(
        "/v1/collections/default/answers",
        data={"question": "what is it?", "answer": text_},
        files={"image": shapes.data(number)},
    )
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def test_all_is_embedded_then_swapped(
    client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    mugs = [picture(seed) for seed in range(3)]
    plates = [picture(seed) for seed in range(10, 13)]
    await teach(client, "mug", *mugs)
    await teach(client, "plate", *plates)
    first = await answer(client, 0, "a shape")
    assert (await ask(client, mugs[0]))["model"] == "lite"
    owner = Owner(services, await queue_reembedding(client, "clip-tiny"))
    await owner.claim()
    # what is taught before the swap comes along
    await teach(client, "bowl", picture(20), picture(21))
    second = await answer(client, 1, "another shape")
    outcome = await run_work(services, owner, tmp_path / "one", reembed)
    assert outcome.result == {"encoder": "clip-tiny", "examples": 8, "answers": 2, "unreadable": 0}
    await owner.succeed(None, {}, tmp_path)
    assert (await get_json(client, "/v1/collections/default"))["encoder"] == "clip-tiny"
    async with asyncio.timeout(60):
        while (await ask(client, mugs[1]))["model"] != "clip-tiny":
            pass  # this process hears of it within a second
    for label, image in (("mug", mugs[1]), ("bowl", picture(21))):
        reply = await client.post("/v1/search", data={"top_k": "1"}, files={"image": image})
        (hit,) = reply.json()["data"]
        assert (hit["label"], hit["similarity"]) == (label, pytest.approx(1, abs=0.02))
    reply = await client.post(
        "/v1/vqa",
        data={"question": "what is it?", "collection": "default", "k": "2"},
        files={"image": shapes.data(0)},
        timeout=60,
    )
    used = [example["id"] for example in reply.json()["examples_used"]]
    assert used == [first["id"], second["id"]]
    # the way back finds the old vectors
    back = Owner(services, await queue_reembedding(client, "lite"))
    await back.claim()
    outcome = await run_work(services, back, tmp_path / "two", reembed)
    assert outcome.result["examples"] == 0
    assert (await get_json(client, "/v1/collections/default"))["encoder"] == "lite"


async def test_who_does_not_own_the_job_swaps_nothing(
    client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    await teach(client, "mug", picture(1))
    owner = Owner(services, await queue_reembedding(client, "clip-tiny"), lease_s=-1)
    await owner.claim()  # the lease has run out already
    with pytest.raises(LostError):
        await run_work(services, owner, tmp_path / "late", reembed)
    other = Owner(services, owner.job)
    await other.claim()
    with pytest.raises(LostError):
        await run_work(services, owner, tmp_path / "older", reembed)
    assert (await client.post(f"/v1/jobs/{owner.job}/cancel")).json()["cancelling"]
    with pytest.raises(StoppingError):
        await run_work(services, other, tmp_path / "cancelled", reembed)
    assert (await get_json(client, "/v1/collections/default"))["encoder"] == "lite"


async def test_a_lost_image_holds_nothing_up(
    client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    (lost,) = await teach(client, "mug", picture(1))
    await teach(client, "plate", picture(2))
    await services.blobs.delete(lost["image_sha256"])
    owner = Owner(services, await queue_reembedding(client, "clip-tiny"))
    await owner.claim()
    outcome = await run_work(services, owner, tmp_path / "lost", reembed)
    assert outcome.result == {"encoder": "clip-tiny", "examples": 1, "answers": 0, "unreadable": 1}
    assert (await get_json(client, "/v1/collections/default"))["encoder"] == "clip-tiny"


async def test_a_collection_that_is_gone_ends_the_job(
    client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    await teach(client, "mug", picture(1))
    owner = Owner(services, await queue_reembedding(client, "clip-tiny"))
    await owner.claim()
    async with services.database.session() as session:
        wanted = {"id": uuid.UUID(owner.row["spec"]["data"]["collection"])}
        await session.execute(text("DELETE FROM collections WHERE id = :id"), wanted)
    with pytest.raises(Exception, match="gone"):
        await run_work(services, owner, tmp_path / "gone", reembed)
    page = await get_json(client, f"/v1/jobs/{owner.job}")
    assert page["collection"] is None
