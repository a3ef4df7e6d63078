"""Unsure pictures are kept for people to decide, in an order that stays, and what they decide is taught at once."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from app.bootstrap import Services
from tests.learning import ask, picture, shown, teach

DEADLINE_S = 30


async def switch_on(client: httpx.AsyncClient, collection: str = "default", **span: int) -> dict[str, Any]:
    reply = await client.patch(f"/v1/collections/{collection}", json={"review": span})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def settled(services: Services) -> None:
    """Until what requests handed over is written."""
    async with asyncio.timeout(DEADLINE_S):
        await services.keeper.drain()


async def queue(client: httpx.AsyncClient, collection: str = "default", **query: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await shown(client, f"/v1/collections/{collection}/review", **query))[
        "data"
    ]
    return rows


async def unsure(client: httpx.AsyncClient, services: Services, count: int) -> list[dict[str, Any]]:
    """A collection of two labels, with `count` pictures in its queue."""
    await teach(client, "mug", picture(1))
    await teach(client, "pot", picture(2))
    await switch_on(client, keep=500, days=30)
    for number in range(count):
        await ask(client, picture(100 + number))
    await settled(services)
    return await queue(client)


async def decide(client: httpx.AsyncClient, item: dict[str, Any], **body: Any) -> httpx.Response:
    return await client.post(f"/v1/collections/default/review/{item['id']}", json=body)


async def test_nothing_is_kept_before_somebody_asks_for_it(
    client: httpx.AsyncClient, services: Services
) -> None:
    await teach(client, "mug", picture(1))
    await teach(client, "pot", picture(2))
    assert (await shown(client, "/v1/collections/default"))["review"] is None
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


async def test_a_label_teaches_at_once_and_undo_takes_it_back(
    client: httpx.AsyncClient, services: Services
) -> None:
    items = await unsure(client, services, 3)
    assert len(items) == 3
    reply = await decide(client, items[0], label="  kettle ")
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert (told["decision"], told["label"], told["waiting"]) == ("relabelled", "kettle", 2)
    example = await shown(client, f"/v1/collections/default/examples/{told['example']}")
    assert example["label"] == "kettle"
    assert (await shown(client, "/v1/collections/default"))["version"] == told["collection_version"]
    assert [row["id"] for row in await queue(client)] == [row["id"] for row in items[1:]]

    again = await decide(client, items[0], label="pot")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "already_decided")
    assert "'kettle'" in again.json()["detail"]
    assert "the key 'test'" in again.json()["detail"]

    undone = await client.delete(f"/v1/collections/default/review/{items[0]['id']}/decision")
    assert undone.json()["waiting"] == 3
    assert (await client.get(f"/v1/collections/default/examples/{told['example']}")).status_code == 404
    assert [row["id"] for row in await queue(client)] == [row["id"] for row in items], "at its old place"
    nothing = await client.delete(f"/v1/collections/default/review/{items[0]['id']}/decision")
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (409, "not_decided")
