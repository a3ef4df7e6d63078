"""What a workspace stores is counted, held to its quota and given back; others are not touched by it."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections import OrderedDict

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.quota import StorageQuota
from app.bootstrap import Services
from app.jobs.streaming import Followers
from tests.conftest import ClientMaker
from tests.learning import picture

EXAMPLES = "/v1/collections/default/examples"
ANSWERS = "/v1/collections/default/answers"


async def add(client: httpx.AsyncClient, image: bytes) -> httpx.Response:
    return await client.post(EXAMPLES, data={"label": "mug"}, files={"images": image})


def archive(*images: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for number, image in enumerate(images):
            packed.writestr(f"{'mug' if number % 2 else 'plate'}/{number}.png", image)
    return buffer.getvalue()


async def count_used_bytes(services: Services, workspace: str) -> int:
    async with services.database.session() as session:
        return sum([await count(session, workspace) for count in services.quota._counters])


@pytest.fixture
def tight(services: Services, monkeypatch: pytest.MonkeyPatch) -> StorageQuota:
    """The quota of every workspace, for this test a single MiB."""
    monkeypatch.setattr(services.quota, "_max_mb", 1)
    return services.quota


async def test_a_full_workspace_is_told_so_and_deleting_makes_room(
    make_client: ClientMaker, services: Services, tight: StorageQuota, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, other = await make_client("full"), await make_client("roomy")
    first = await add(client, picture(1))
    assert first.status_code == 201, first.text
    used = await count_used_bytes(services, "full")
    assert used > 100
    again = await add(client, picture(1))
    assert again.json()["data"][0]["created"] is False
    assert await count_used_bytes(services, "full") == used, "it is stored once"
    taught = await client.post(
        ANSWERS, data={"question": "what?", "answer": "a mug"}, files={"image": picture(2)}
    )
    assert taught.status_code == 201
    assert await count_used_bytes(services, "full") > used

    # room for what there is and not a byte more
    monkeypatch.setattr("app.access.quota._MIB", await count_used_bytes(services, "full"))
    for refused in (
        await add(client, picture(3)),
        await client.post(ANSWERS, data={"question": "what?", "answer": "x"}, files={"image": picture(4)}),
        await client.post("/v1/datasets", files={"archive": archive(picture(5), picture(6))}),
        await client.post("/v1/models", files={"archive": archive(picture(5))}),
        await client.post("/v1/datasets/from-collection", json={"collection": "default"}),
    ):
        problem = refused.json()
        assert (refused.status_code, problem["error"]["code"]) == (413, "workspace_full"), problem
        assert "VISION_MAX_WORKSPACE_MB" in problem["detail"]
        assert "'full'" in problem["detail"]
    assert (await add(other, picture(3))).status_code == 201, "another workspace has a quota of its own"
    assert (await client.post("/v1/classify", files={"image": picture(1)})).status_code == 200

    gone = await client.delete(f"{EXAMPLES}/{first.json()['data'][0]['id']}")
    assert gone.status_code == 204
    assert (await add(client, picture(1))).status_code == 201, "what was deleted makes room at once"


async def test_an_uploaded_dataset_counts_until_it_is_deleted(
    make_client: ClientMaker, services: Services, tight: StorageQuota
) -> None:
    client = await make_client("archivist")
    packed = archive(*(picture(number) for number in range(4)))
    made = await client.post("/v1/datasets", files={"archive": packed})
    assert made.status_code == 202, made.text
    assert await count_used_bytes(services, "archivist") == len(packed)
    assert (await client.delete(f"/v1/datasets/{made.json()['id']}")).status_code == 204
    assert await count_used_bytes(services, "archivist") == 0


async def test_one_workspace_does_not_take_all_places_of_followers(
    make_client: ClientMaker, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    followers = Followers(services.database, poll_s=0.05, most=3, most_of_one=1)
    monkeypatch.setattr(services, "followers", followers)
    paths = []
    clients = [await make_client("watching"), await make_client("watching-too")]
    for client in clients:
        await add(client, picture(1))
        made = await client.post("/v1/datasets/from-collection", json={"collection": "default"})
        paths.append(f"/v1/jobs/{(await client.get('/v1/jobs')).json()['data'][0]['id']}/events")
        assert made.status_code == 202
    first = asyncio.create_task(clients[0].get(paths[0], timeout=60))
    async with asyncio.timeout(60):
        while not followers._tallies.followers_of("watching").total:
            await clients[0].get("/v1/jobs")
    late = await clients[0].get(paths[0])
    assert (late.status_code, late.json()["error"]["code"]) == (429, "too_many_followers")
    assert "VISION_MAX_WORKSPACE_FOLLOWERS" in late.json()["detail"]
    assert int(late.headers["retry-after"]) > 0
    second = asyncio.create_task(clients[1].get(paths[1], timeout=60))
    async with asyncio.timeout(60):
        while followers._tallies.get("followers").total < 2:
            await clients[0].get("/v1/jobs")
    followers.close()
    assert {(await first).status_code, (await second).status_code} == {200}
    assert not followers._tallies.followers_of("watching").total
    assert not followers._tallies.get("followers").total, "those that left are forgotten"


async def test_a_workspace_is_told_what_it_stores_of_how_much(
    make_client: ClientMaker, services: Services, tight: StorageQuota
) -> None:
    client, other = await make_client("stored"), await make_client("empty")
    await add(client, picture(1))
    used = await count_used_bytes(services, "stored")
    told = await client.get("/v1/storage")
    assert told.json() == {"workspace": "stored", "used_bytes": used, "max_bytes": 1 << 20}
    assert (await other.get("/v1/storage")).json()["used_bytes"] == 0
    await add(client, picture(2))
    assert (await client.get("/v1/storage")).json()["used_bytes"] > used, "a picture counts at once"


async def test_a_workspace_over_its_limit_is_counted_as_seldom_as_others(
    make_client: ClientMaker, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, counted = await make_client("lowered"), []
    await add(client, picture(1))

    async def count(session: AsyncSession, workspace: str) -> int:
        counted.append(workspace)
        return 5

    monkeypatch.setattr(services.quota, "_max_mb", 0)
    monkeypatch.setattr(services.quota, "_counters", [count])
    monkeypatch.setattr(services.quota, "_used", OrderedDict())
    told = [(await client.get("/v1/storage")).json() for _ in range(3)]
    assert told == [{"workspace": "lowered", "used_bytes": 5, "max_bytes": 0}] * 3
    assert counted == ["lowered"]
