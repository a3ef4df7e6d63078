"""A queue of unsure pictures over HTTP: switched on, filled, read and decided."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from app.bootstrap import Services
from tests.learning import ask, get_json, picture, teach

DEADLINE_S = 120


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
    rows: list[dict[str, Any]] = (await get_json(client, f"/v1/collections/{collection}/review", **query))[
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
