"""Unsure pictures are kept for people to decide, in an order that stays, within bounds of number, age and memory."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import event, text

from app.bootstrap import Services
from tests.learning import ask, get_json, make, picture, teach
from tests.photos import encode_photo
from tests.reviewing import DEADLINE_S, decide, queue, settled, switch_on, unsure


async def test_nothing_is_kept_before_somebody_asks_for_it(
    client: httpx.AsyncClient, services: Services
) -> None:
    await teach(client, "mug", picture(1))
    await teach(client, "pot", picture(2))
    assert (await get_json(client, "/v1/collections/default"))["review"] is None
    await ask(client, picture(5))
    await settled(services)
    assert await queue(client) == []
    assert (await switch_on(client))["review"] == {"keep": 500, "days": 30}
    await ask(client, picture(5))
    await settled(services)
    (item,) = await queue(client)
    assert item["guess"] == item["scores"][0]["label"]
    image = await client.get(item["image"], params={"size": 64})
    assert (image.status_code, image.headers["content-type"]) == (200, "image/jpeg")
    off = await client.patch("/v1/collections/default", json={"review": None})
    assert off.json()["review"] is None
    assert await queue(client) == []
    assert (await client.get(item["image"])).status_code == 404


async def test_two_tabs_see_one_order_while_one_decides(
    client: httpx.AsyncClient, services: Services
) -> None:
    items = [item["id"] for item in await unsure(client, services, 9)]
    assert len(items) == 9
    first = await get_json(client, "/v1/collections/default/review", limit=3)
    assert [item["id"] for item in first["data"]] == items[:3]
    for item in first["data"][:2]:
        await decide(client, item, label="kettle")
    second = await get_json(client, "/v1/collections/default/review", limit=3, cursor=first["next"])
    assert [item["id"] for item in second["data"]] == items[3:6], "nothing is skipped or comes twice"
    third = await get_json(client, "/v1/collections/default/review", limit=10, cursor=second["next"])
    assert ([item["id"] for item in third["data"]], third["next"]) == (items[6:], None)
    assert [item["id"] for item in await queue(client)] == items[2:]
    newest = await queue(client, order="newest")
    assert [item["created_at"] for item in newest] == sorted(
        (item["created_at"] for item in newest), reverse=True
    )
    page = await get_json(client, "/v1/collections/default/review", limit=4, order="newest")
    rest = await queue(client, limit=10, order="newest", cursor=page["next"])
    assert [item["id"] for item in page["data"]] + [item["id"] for item in rest] == [
        item["id"] for item in newest
    ]


async def test_the_surest_leave_a_full_queue_and_the_same_picture_is_kept_once(
    client: httpx.AsyncClient, services: Services
) -> None:
    items = await unsure(client, services, 6)
    for number in range(6):  # again, and as another file
        await ask(client, picture(100 + number))
    await settled(services)
    assert len(await queue(client)) == 6
    sure = sorted(items, key=lambda item: item["margin"])
    assert (await switch_on(client, keep=2, days=30))["review"]["keep"] == 2
    kept = await queue(client)
    assert {item["id"] for item in kept} == {item["id"] for item in sure[:2]}
    for number in range(30):
        await ask(client, picture(200 + number))
    await settled(services)
    later = await queue(client)
    assert len(later) == 2
    assert max(item["margin"] for item in later) <= max(item["margin"] for item in kept)
    gone = next(item for item in items if item["id"] == sure[-1]["id"])
    assert (await client.get(gone["image"])).status_code == 404


async def test_nothing_is_shown_or_kept_that_is_too_old(
    client: httpx.AsyncClient, services: Services
) -> None:
    await unsure(client, services, 0)
    await ask(client, picture(777))
    await settled(services)
    (item,) = await queue(client)
    path = f"/v1/collections/default/review/{item['id']}"
    async with services.database.session() as session:
        await session.execute(
            text("UPDATE review_pictures SET created_at = now() - interval '31 days' WHERE id = :id"),
            {"id": uuid.UUID(item["id"])},
        )
        sha256 = await session.scalar(
            text("SELECT image_sha256 FROM review_pictures WHERE id = :id"), {"id": uuid.UUID(item["id"])}
        )
    assert await queue(client) == []
    assert (await client.get(item["image"])).status_code == 404
    assert (await client.post(path, json={"label": "x"})).status_code == 404
    await services.keeper.sweep()
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*services.learning._cleaning)
    with pytest.raises(FileNotFoundError):
        await services.blobs.get(sha256)


async def test_pictures_alike_do_not_stand_in_a_row(client: httpx.AsyncClient, services: Services) -> None:
    def shade(base: int, number: int) -> bytes:
        """Of the scenes of one base all show the same blocks, in another brightness."""
        blocks = np.random.default_rng(base).integers(0, 200, (3, 3, 3), dtype=np.uint8)
        noise = np.random.default_rng(1000 * base + number).integers(0, 90, (96, 96, 3), dtype=np.uint8)
        return encode_photo(
            Image.fromarray(np.kron(blocks, np.ones((32, 32, 1), np.uint8)) // 2 + noise // 2), "PNG"
        )

    await teach(client, "mug", picture(1))
    await teach(client, "pot", picture(2))
    await switch_on(client)
    scene = {}
    for base in (50, 60, 70):
        for number in range(4):
            reply = await client.post(
                "/v1/classify",
                files={"image": shade(base, number)},
                headers={"X-Request-ID": f"s{base}-{number}"},
            )
            scene[reply.headers["x-request-id"]] = base
    await settled(services)
    shown_scenes = [scene[item["request_id"]] for item in await queue(client)]
    assert len(set(shown_scenes[:3])) > 1


async def test_the_caps_of_the_service_hold(client: httpx.AsyncClient) -> None:
    for span, field in (
        ({"keep": 5_001}, "keep"),
        ({"days": 366}, "days"),
        ({"keep": 0}, "keep"),
        ({"keep": True}, "keep"),
    ):
        reply = await client.patch("/v1/collections/default", json={"review": span})
        assert reply.status_code == 422, reply.text
        assert field in reply.json()["detail"]
    both = await client.patch("/v1/collections/default", json={"review": None, "label_shares": "equal"})
    assert both.status_code == 422


async def test_a_deleted_collection_takes_its_pictures_along(
    client: httpx.AsyncClient, services: Services
) -> None:
    await make(client, "kitchen")
    await teach(client, "mug", picture(1), collection="kitchen")
    await teach(client, "pot", picture(2), collection="kitchen")
    await switch_on(client, "kitchen")
    await ask(client, picture(900), collection="kitchen")
    await settled(services)
    (item,) = await queue(client, "kitchen")
    async with services.database.session() as session:
        sha256 = await session.scalar(
            text("SELECT image_sha256 FROM review_pictures WHERE id = :id"), {"id": uuid.UUID(item["id"])}
        )
    assert await services.blobs.get(sha256)
    assert (await client.delete("/v1/collections/kitchen")).status_code == 204
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*services.learning._cleaning)
    with pytest.raises(FileNotFoundError):
        await services.blobs.get(sha256)


async def test_classifying_asks_the_database_no_more_than_without_review(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper stands still meanwhile: what is counted is what the request itself does."""
    await unsure(client, services, 1)
    asked: list[str] = []

    def count(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        asked.append(statement)

    writing = asyncio.Event()

    async def wait(picture: Any) -> str:
        await writing.wait()
        return "refused"

    monkeypatch.setattr(services.keeper, "_keep", wait)
    await ask(client, picture(301))
    event.listen(services.database.engine.sync_engine, "before_cursor_execute", count)
    try:
        await ask(client, picture(302))
        with_review = [
            statement for statement in asked if "review_pictures" in statement or "INSERT" in statement
        ]
    finally:
        event.remove(services.database.engine.sync_engine, "before_cursor_execute", count)
        writing.set()
        await settled(services)
    assert with_review == []


async def test_a_picture_that_there_is_no_memory_for_does_not_end_the_keeping(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    await unsure(client, services, 0)

    async def fail(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(services.keeper.learning, "normalise", fail)
        await ask(client, picture(300))
        await settled(services)
    assert await queue(client) == []
    await ask(client, picture(301))
    await settled(services)
    assert len(await queue(client)) == 1


async def test_what_finds_no_room_in_memory_is_dropped_and_counted(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    await unsure(client, services, 1)
    writing = asyncio.Event()

    async def wait(picture: Any) -> str:
        await writing.wait()
        return "refused"

    def dropped() -> float:
        return float(services.metrics.review.labels("dropped")._value.get())

    monkeypatch.setattr(services.keeper, "_keep", wait)
    handover = services.keeper.handover
    monkeypatch.setattr(handover, "settings", handover.settings.model_copy(update={"review_queue": 2}))
    before, held = dropped(), services.spool.held
    for number in range(6):
        await ask(client, picture(400 + number))
    assert dropped() - before == 3, "one is being written, two wait"
    assert services.spool.held > held
    writing.set()
    await settled(services)
    assert services.spool.held == held, "what was handed over is given back"
