"""What people decide of kept pictures, and tell by feedback, is taught at once, counted and taken back."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from app.bootstrap import Services
from tests.conftest import ClientMaker
from tests.learning import ask, get_json, picture
from tests.reviewing import DEADLINE_S, decide, queue, settled, unsure


async def test_a_label_teaches_at_once_and_undo_takes_it_back(
    client: httpx.AsyncClient, services: Services
) -> None:
    items = await unsure(client, services, 3)
    assert len(items) == 3
    reply = await decide(client, items[0], label="  kettle ")
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert (told["decision"], told["label"], told["waiting"]) == ("relabelled", "kettle", 2)
    example = await get_json(client, f"/v1/collections/default/examples/{told['example']}")
    assert example["label"] == "kettle"
    assert (await get_json(client, "/v1/collections/default"))["version"] == told["collection_version"]
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


async def test_what_is_decided_moves_the_guesses_of_the_rest(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.review, "score_wait_s", DEADLINE_S)
    items = await unsure(client, services, 6)
    reply = await decide(client, items[0], label="kettle")
    later = await queue(client)
    assert {item["scored_version"] for item in later} == {reply.json()["collection_version"]}
    assert all("kettle" in {score["label"] for score in item["scores"]} for item in later)
    seen = next(item for item in items[1:] if item["id"] == later[0]["id"])
    late = await decide(client, later[0], decision="right", guess="something else")
    assert (late.status_code, late.json()["error"]["code"]) == (409, "guess_changed")
    right = await decide(client, later[0], decision="right", guess=later[0]["guess"])
    assert (right.json()["decision"], right.json()["label"]) == ("right", later[0]["guess"])
    assert seen["scored_version"] < later[0]["scored_version"]


async def test_several_are_decided_together_or_not_at_all(
    client: httpx.AsyncClient, services: Services
) -> None:
    items = await unsure(client, services, 4)
    ids = [item["id"] for item in items]
    path = "/v1/collections/default/review"
    await decide(client, items[0], decision="skip")
    refused = await client.post(path, json={"ids": ids, "label": "kettle"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "already_decided")
    assert len(await queue(client)) == 3
    unknown = await client.post(path, json={"ids": [*ids[1:], str(uuid.uuid4())], "label": "kettle"})
    assert unknown.status_code == 404
    told = await client.post(path, json={"ids": ids[1:], "label": "kettle"})
    assert [picture["id"] for picture in told.json()["data"]] == ids[1:]
    assert {picture["waiting"] for picture in told.json()["data"]} == {0}
    labels = {
        row["label"]: row["examples"]
        for row in (await get_json(client, "/v1/collections/default/labels"))["data"]
    }
    assert labels == {"mug": 1, "pot": 1, "kettle": 3}
    for body in (
        {"ids": ids},
        {"ids": [], "label": "x"},
        {"ids": ids, "label": "x", "decision": "right"},
        {"ids": ids, "label": " "},
        {"ids": [str(uuid.uuid4()) for _ in range(501)], "label": "x"},
        {"ids": ["nonsense"], "label": "x"},
    ):
        assert (await client.post(path, json=body)).status_code == 422, body


async def test_one_of_two_deciders_is_told_who_was_first(
    client: httpx.AsyncClient, services: Services
) -> None:
    items = await unsure(client, services, 5)
    for item in items:
        replies = await asyncio.gather(*(decide(client, item, label=label) for label in ("a", "b", "c")))
        assert sorted(reply.status_code for reply in replies) == [200, 409, 409]
    labels = (await get_json(client, "/v1/collections/default/labels"))["data"]
    assert sum(row["examples"] for row in labels) == 2 + len(items)


async def test_the_agreement_is_counted_and_drawn(client: httpx.AsyncClient, services: Services) -> None:
    path = "/v1/collections/default/review/stats"
    items = await unsure(client, services, 5)
    assert await get_json(client, path) == {
        "waiting": 5, "decided": 0, "right": 0, "relabelled": 0, "none": 0, "skipped": 0, "agreement": None,
        "curve": [],
    }  # fmt: skip
    fresh = {item["id"]: item for item in items}
    first = fresh[items[0]["id"]]
    await decide(client, first, decision="right", guess=first["guess"])
    await decide(client, items[1], decision="skip")
    await decide(client, items[2], label="kettle")
    told = next(item for item in await queue(client) if item["id"] == items[3]["id"])
    await decide(client, told, label=told["guess"])
    stats = await get_json(client, path)
    assert [stats[name] for name in ("waiting", "decided", "right", "relabelled", "skipped")] == [
        1,
        3,
        2,
        1,
        1,
    ]
    assert stats["agreement"] == pytest.approx(2 / 3)
    assert stats["curve"] == [
        {"decided": 1, "agreement": 1.0},
        {"decided": 2, "agreement": 0.5},
        {"decided": 3, "agreement": pytest.approx(2 / 3)},
    ]
    await client.delete(f"/v1/collections/default/review/{items[2]['id']}/decision")
    assert (await get_json(client, path))["agreement"] == 1.0


async def test_none_is_remembered_and_teaches_nothing(client: httpx.AsyncClient, services: Services) -> None:
    items = await unsure(client, services, 1)
    before = await get_json(client, "/v1/collections/default")
    told = (await decide(client, items[0], decision="none")).json()
    assert (told["decision"], told["label"], told["example"]) == ("none", None, None)
    assert told["collection_version"] == before["version"]
    assert (await get_json(client, "/v1/collections/default"))["examples"] == before["examples"]
    await ask(client, picture(100))
    await settled(services)
    assert await queue(client) == [], "a decided picture does not come back"


async def test_each_call_asks_for_its_scope_and_no_other_workspace_sees_anything(
    make_client: ClientMaker, services: Services
) -> None:
    owner, stranger = await make_client(), await make_client()
    workspace = f"reviewed-{uuid.uuid4().hex[:8]}"
    owner = await make_client(workspace)
    reader = await make_client(workspace, scopes=["recognise"])
    (item,) = await unsure(owner, services, 1)
    path = "/v1/collections/default/review"
    reads = [path, f"{path}/stats", item["image"], "/v1/vision/review/pending"]
    writes: list[tuple[str, str, dict[str, Any] | None]] = [
        ("POST", path, {"ids": [item["id"]], "label": "x"}),
        ("POST", f"{path}/{item['id']}", {"label": "x"}),
        ("DELETE", f"{path}/{item['id']}/decision", None),
        ("POST", "/v1/vision/review/decide", {"id": item["id"], "decision": "correct"}),
    ]
    assert {(await reader.get(place)).status_code for place in reads} == {200}
    metrics = await make_client(workspace, scopes=["metrics"])
    assert {(await metrics.get(place)).status_code for place in reads} == {403}
    for method, place, body in [*writes, ("POST", "/v1/feedback", {"request_id": "x", "none": True})]:
        assert (await reader.request(method, place, json=body)).status_code == 403, place
        if place != "/v1/feedback":
            assert (await stranger.request(method, place, json=body)).status_code == 404, place
    assert await queue(stranger) == []
    assert (await stranger.get(item["image"])).status_code == 404
    assert (await get_json(stranger, "/v1/vision/review/pending"))["total"] == 0
    given = await stranger.post("/v1/feedback", json={"request_id": item["request_id"], "label": "x"})
    assert given.status_code == 409
    assert (await get_json(stranger, f"{path}/stats"))["waiting"] == 0
    assert len(await queue(owner)) == 1
