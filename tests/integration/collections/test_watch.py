"""What one process is taught, another knows within a second: with Redis, after a flush, and without it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import text

from app.bootstrap import Services
from app.main import create_app
from tests.conftest import ClientMaker
from tests.learning import ask, get_json, make, picture, teach

WITHIN_S = 1.0
SLACK_S = 4.0
"""For what the second instance does once it knows, on a machine that does other things too."""


@dataclass
class Pair:
    """Two processes' worth of service over the same stores, for one client each of the same workspace."""

    one: httpx.AsyncClient
    other: httpx.AsyncClient
    services: Services
    """Of the other one."""


@asynccontextmanager
async def second(app: FastAPI, redis_url: str) -> AsyncIterator[FastAPI]:
    """Another instance over the databases of `app`, with a Redis of its own choice."""
    services: Services = app.state.services
    addresses = type(services.addresses)(services.addresses.database_url, redis_url)
    made = create_app(services.settings, addresses)
    async with made.router.lifespan_context(made):
        await made.state.services.default_model.loading
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["with Redis", "without Redis"])
async def other_app(request: pytest.FixtureRequest, app: FastAPI) -> AsyncIterator[FastAPI]:
    redis_url = app.state.services.addresses.redis_url
    if request.param == "without Redis":
        redis_url = "redis://127.0.0.1:1/0"
    async with second(app, redis_url) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def pair(make_client: ClientMaker, other_app: FastAPI) -> AsyncIterator[Pair]:
    one = await make_client()
    transport = httpx.ASGITransport(other_app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1", headers=one.headers
    ) as other:
        yield Pair(one, other, other_app.state.services)


async def soon(what: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `what` holds; fails after the promised second and the slack."""
    end = time.monotonic() + WITHIN_S + SLACK_S
    while not await what():
        assert time.monotonic() < end, "the other process did not hear of it in time"
        await asyncio.sleep(0.02)


async def label_of(client: httpx.AsyncClient, image: bytes) -> str:
    return str((await ask(client, image))["label"])


async def test_examples_descriptions_and_removals_are_heard_of(pair: Pair) -> None:
    await teach(pair.one, "a", picture(1))
    assert await label_of(pair.other, picture(1)) == "a"  # nobody there had asked before
    (two,) = await teach(pair.one, "b", picture(2))

    async def knows_b() -> bool:
        return await label_of(pair.other, picture(2)) == "b"

    await soon(knows_b)
    await pair.one.delete(two["image"].removesuffix("/image"))

    async def forgot_b() -> bool:
        return len((await ask(pair.other, picture(2)))["scores"]) == 1

    await soon(forgot_b)


async def test_it_works_the_other_way_round(pair: Pair) -> None:
    await teach(pair.one, "a", picture(1))
    await label_of(pair.one, picture(1))
    await teach(pair.other, "b", picture(2))
    assert await label_of(pair.other, picture(2)) == "b"

    async def knows_b() -> bool:
        return await label_of(pair.one, picture(2)) == "b"

    await soon(knows_b)


async def test_a_flush_loses_nothing(pair: Pair, app: FastAPI) -> None:
    await teach(pair.one, "a", picture(1))
    await label_of(pair.other, picture(1))
    await app.state.services.redis.flushall()
    await teach(pair.one, "b", picture(2))
    await app.state.services.redis.flushall()

    async def knows_b() -> bool:
        return await label_of(pair.other, picture(2)) == "b"

    await soon(knows_b)


async def test_a_collection_dropped_and_made_anew_is_noticed(pair: Pair) -> None:
    await make(pair.one, "short")
    await teach(pair.one, "old", picture(1), collection="short")
    await ask(pair.other, picture(1), collection="short")
    await pair.one.delete("/v1/collections/short")

    async def is_gone() -> bool:
        reply = await pair.other.post(
            "/v1/classify", params={"collection": "short"}, files={"image": picture(1)}
        )
        return reply.status_code == 404

    await soon(is_gone)
    await make(pair.one, "short")
    await teach(pair.one, "new", picture(1), collection="short")
    assert (await ask(pair.other, picture(1), collection="short"))["label"] == "new"


async def test_words_that_redis_made_up_do_no_harm(pair: Pair, app: FastAPI) -> None:
    await teach(pair.one, "a", picture(1))
    await label_of(pair.other, picture(1))
    for word in [b"", b"{}", b"[]", b"\xff", b'{"workspace": 1}', b"null"]:
        await app.state.services.redis.publish("vision:collections", word)
    await teach(pair.one, "b", picture(2))

    async def knows_b() -> bool:
        return await label_of(pair.other, picture(2)) == "b"

    await soon(knows_b)


async def test_images_are_embedded_again_when_the_weights_have_changed(
    client: httpx.AsyncClient, services: Services
) -> None:
    """The vectors of examples are made to be those of other weights; nobody has asked for them yet."""
    await make(client, "older")
    for seed in range(20):
        await teach(client, f"label {seed % 2}", picture(seed), collection="older")
    version = (await get_json(client, "/v1/collections/older"))["version"]
    async with services.database.session() as session:
        changed = await session.execute(
            text(
                "UPDATE example_vectors SET encoder = 'lite@0000000000000000' WHERE collection_id ="
                " (SELECT id FROM collections WHERE name = 'older')"
            )
        )
        assert changed.rowcount == 20  # type: ignore[attr-defined]
    reply = await client.post("/v1/classify", params={"collection": "older"}, files={"image": picture(3)})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_ready")
    assert int(reply.headers["retry-after"]) >= 1
    end = time.monotonic() + 60
    while reply.status_code == 503:
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
        reply = await client.post(
            "/v1/classify", params={"collection": "older", "threshold": 0}, files={"image": picture(3)}
        )
    assert reply.json()["label"] == "label 1"
    assert (await get_json(client, "/v1/collections/older"))["version"] == version + 1
    hits = await client.post(
        "/v1/search", params={"collection": "older", "top_k": 50}, files={"image": picture(3)}
    )
    assert len(hits.json()["data"]) == 20
