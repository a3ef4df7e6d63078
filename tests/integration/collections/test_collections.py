"""Collections are made, listed, shown and dropped, and nobody sees another workspace's."""

from __future__ import annotations

import uuid

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import ClientMaker
from tests.learning import ask, get_json, make, picture, teach


async def test_default_always_exists_and_stays(client: httpx.AsyncClient) -> None:
    listed = await get_json(client, "/v1/collections")
    assert [row["name"] for row in listed["data"]] == ["default"]
    row = await get_json(client, "/v1/collections/default")
    assert (row["encoder"], row["labels"], row["examples"]) == ("lite", 0, 0)
    reply = await client.delete("/v1/collections/default")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "default_collection")
    again = await client.post("/v1/collections", json={"name": "default"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "collection_exists")


async def test_a_collection_is_made_counted_and_dropped(client: httpx.AsyncClient) -> None:
    await make(client, "kitchen")
    assert (await client.post("/v1/collections", json={"name": "kitchen"})).status_code == 409
    await teach(client, "mug", picture(1), picture(2), collection="kitchen")
    await teach(client, "pot", picture(3), collection="kitchen", description="a thing to cook in")
    row = await get_json(client, "/v1/collections/kitchen")
    assert (row["labels"], row["examples"], row["version"]) == (2, 3, 2)
    labels = await get_json(client, "/v1/collections/kitchen/labels")
    assert labels["data"] == [
        {"label": "mug", "description": "", "examples": 2},
        {"label": "pot", "description": "a thing to cook in", "examples": 1},
    ]
    assert (await ask(client, picture(3), collection="kitchen"))["label"] == "pot"
    assert (await client.delete("/v1/collections/kitchen")).status_code == 204
    for path in ("", "/labels", "/examples"):
        assert (await client.get(f"/v1/collections/kitchen{path}")).status_code == 404
    gone = await client.post("/v1/classify", params={"collection": "kitchen"}, files={"image": picture(3)})
    assert gone.status_code == 404


async def test_a_name_can_be_used_again_and_starts_empty(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        await make(client, "again")
        reply = await client.post("/v1/classify", params={"collection": "again"}, files={"image": picture(1)})
        assert reply.status_code == 409
        await teach(client, "one", picture(1), collection="again")
        assert (await ask(client, picture(1), collection="again"))["label"] == "one"
        await client.delete("/v1/collections/again")


@pytest.mark.parametrize("name", ["", "Upper", "with space", "-x", "a/b", "x" * 64, "é", "..", "a\0b"])
async def test_only_slugs_are_names(client: httpx.AsyncClient, name: str) -> None:
    reply = await client.post("/v1/collections", json={"name": name})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_input")


@pytest.mark.parametrize("encoder", ["nothing", "/etc", "~", "some-org/some-model", "..", "\0"])
async def test_a_collection_is_bound_to_a_model_the_service_knows(
    client: httpx.AsyncClient, encoder: str
) -> None:
    reply = await client.post("/v1/collections", json={"name": "odd", "encoder": encoder})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_collection_of_another_encoder_classifies_with_it(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/collections", json={"name": "shapes", "encoder": "clip-tiny"})
    assert reply.json()["encoder"] == "clip-tiny"
    await teach(client, "first", picture(1), collection="shapes")
    await teach(client, "second", picture(2), collection="shapes")
    answer = await ask(client, picture(2), collection="shapes")
    assert (answer["label"], answer["model"]) == ("second", "clip-tiny")
    refused = await client.post(
        "/v1/classify", params={"collection": "shapes", "model": "lite"}, files={"image": picture(2)}
    )
    assert refused.json()["error"]["code"] == "encoder_mismatch"
    same = await ask(client, picture(2), collection="shapes", model="clip-tiny")
    assert same["scores"] == answer["scores"]


async def test_pages_follow_each_other_without_gap(client: httpx.AsyncClient) -> None:
    names = sorted([f"c{index}" for index in range(5)] + ["default"])
    for name in names:
        if name != "default":
            await make(client, name)
    seen, cursor = [], None
    while True:
        page = await get_json(client, "/v1/collections", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [row["name"] for row in page["data"]]
        cursor = page["next"]
        if cursor is None:
            break
        assert len(page["data"]) == 2
    assert seen == names


@pytest.mark.parametrize("text", ["1_0", "1e1", "0x1"])
async def test_a_limit_is_written_in_digits(client: httpx.AsyncClient, text: str) -> None:
    reply = await client.get("/v1/collections", params={"limit": text})
    assert reply.status_code == 422
    assert reply.json()["detail"] == "limit: it must be a whole number."


@pytest.mark.parametrize(
    "cursor",
    ["x", "bm9wZQ", "W10", "WyJhIiwiYiIsImMiXQ", "WyJcdWQ4MDAiXQ", "WyJcdTAwMDAiXQ", "é", "x" * 20_000],
)
async def test_a_made_up_cursor_is_refused(client: httpx.AsyncClient, cursor: str) -> None:
    for path in ("/v1/collections", "/v1/collections/default/labels", "/v1/collections/default/examples"):
        reply = await client.get(path, params={"cursor": cursor})
        assert reply.status_code in (414, 422), reply.text


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many"])
async def test_a_page_has_bounds(client: httpx.AsyncClient, limit: str) -> None:
    reply = await client.get("/v1/collections", params={"limit": limit})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_input")


async def test_no_route_shows_another_workspace(make_client: ClientMaker, app: FastAPI) -> None:
    owner, stranger = await make_client(), await make_client()
    await make(owner, "mine")
    (example,) = await teach(owner, "secret", picture(1), collection="mine")
    (own,) = await teach(stranger, "own", picture(2))
    path = "/v1/collections/mine"
    image = {"image": picture(1)}
    refused = [
        await stranger.get(path),
        await stranger.delete(path),
        await stranger.get(f"{path}/labels"),
        await stranger.get(f"{path}/examples"),
        await stranger.post(f"{path}/examples", data={"label": "x"}, files={"images": picture(3)}),
        await stranger.get(f"{path}/examples/{example['id']}"),
        await stranger.delete(f"{path}/examples/{example['id']}"),
        await stranger.get(f"{path}/examples/{example['id']}/image"),
        await stranger.post("/v1/classify", params={"collection": "mine"}, files=image),
        await stranger.post("/v1/search", params={"collection": "mine"}, files=image),
        # an example's id is of no use below a collection of one's own
        await stranger.get(f"/v1/collections/default/examples/{example['id']}"),
        await stranger.delete(f"/v1/collections/default/examples/{example['id']}"),
        await stranger.get(f"/v1/collections/default/examples/{example['id']}/image"),
    ]
    assert [reply.status_code for reply in refused] == [404] * len(refused)
    tried = {(reply.request.method, reply.request.url.path.count("/")) for reply in refused}
    for route in app.routes:
        template = getattr(route, "path", "")
        if "{collection}" in template:
            for method in route.methods - {"HEAD"}:  # type: ignore[attr-defined]
                assert (method, template.count("/")) in tried, f"{method} {template} is not tried here"
    assert [row["name"] for row in (await get_json(stranger, "/v1/collections"))["data"]] == ["default"]
    assert (await ask(stranger, picture(1)))["scores"][0]["label"] == "own"
    hits = await stranger.post("/v1/search", files=image)
    assert [hit["id"] for hit in hits.json()["data"]] == [own["id"]]
    assert (await ask(owner, picture(1), collection="mine"))["label"] == "secret"


async def test_scopes_divide_asking_from_teaching(make_client: ClientMaker) -> None:
    reader = await make_client(scopes=["recognise"])
    assert (await reader.get("/v1/collections")).status_code == 200
    for reply in [
        await reader.post("/v1/collections", json={"name": "x"}),
        await reader.delete("/v1/collections/x"),
        await reader.post(
            "/v1/collections/default/examples", data={"label": "x"}, files={"images": picture(1)}
        ),
        await reader.delete(f"/v1/collections/default/examples/{uuid.uuid4()}"),
    ]:
        assert reply.status_code == 403
    teacher = await make_client(scopes=["learn"])
    assert (await teacher.post("/v1/classify", files={"image": picture(1)})).status_code == 403
