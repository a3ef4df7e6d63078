"""Clients say what a picture showed: it is taught at once, counted, replaced and taken back, by image or request."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from sqlalchemy import text

from app.bootstrap import Services
from app.collections.service import find_collection
from tests.conftest import ClientMaker
from tests.learning import get_json, make, picture, teach
from tests.reviewing import decide, queue, unsure


async def test_feedback_teaches_once_and_counts(client: httpx.AsyncClient, services: Services) -> None:
    async def say(**fields: str) -> httpx.Response:
        return await client.post("/v1/feedback", data=fields, files={"image": picture(7)})

    untaught = await say(right="true")
    assert (untaught.status_code, untaught.json()["error"]["code"]) == (409, "nothing_to_confirm")
    first = (await say(label="mug")).json()
    assert (first["decision"], first["label"], first["collection"]) == (None, "mug", "default")
    await teach(client, "pot", picture(2))
    confirmed = (await say(right="true")).json()
    assert (confirmed["decision"], confirmed["example"]) == ("right", first["example"])
    again = (await say(label="mug")).json()
    assert again == {**confirmed, "collection_version": again["collection_version"]}
    assert again["collection_version"] == confirmed["collection_version"]
    other = (await say(label="pan")).json()
    assert (other["decision"], other["other_labels"]) == ("relabelled", ["mug"])
    stats = await get_json(client, "/v1/collections/default/review/stats")
    assert (stats["decided"], stats["relabelled"]) == (1, 1), "the last word on a picture counts, once"
    assert (await say(label="pan")).json()["decision"] == "relabelled", "how it counts, not what was learned"
    for fields in (
        {},
        {"label": "a", "right": "true"},
        {"right": "false"},
        {"label": "a", "request_id": "x"},
    ):
        refused = await say(**fields)
        assert (refused.status_code, refused.json()["detail"][0]) != (422, ":"), (
            "a sentence begins with a word"
        )
        assert refused.status_code == 422, fields


async def give_feedback(client: httpx.AsyncClient, seed: int, **fields: str) -> dict[str, Any]:
    reply = await client.post("/v1/feedback", data=fields, files={"image": picture(seed)})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def read_labels(client: httpx.AsyncClient, collection: str = "default") -> dict[str, int]:
    rows = (await get_json(client, f"/v1/collections/{collection}/labels"))["data"]
    return {row["label"]: row["examples"] for row in rows}


async def test_none_forgets_what_feedback_taught_and_nothing_else(client: httpx.AsyncClient) -> None:
    await teach(client, "mug", picture(1))
    await teach(client, "pot", picture(2))
    await give_feedback(client, 7, label="pan")
    await give_feedback(client, 7, label="mug")
    assert await read_labels(client) == {"mug": 2, "pan": 1, "pot": 1}
    none = await give_feedback(client, 7, none="true")
    assert (none["label"], none["example"], none["other_labels"]) == (None, None, [])
    assert none["replaced_labels"] == ["mug", "pan"]
    assert await read_labels(client) == {"mug": 1, "pot": 1}
    await give_feedback(client, 1, label="mug")  # confirms what was taught otherwise
    kept = await give_feedback(client, 1, none="true")
    assert (kept["replaced_labels"], kept["other_labels"]) == ([], ["mug"])
    assert await read_labels(client) == {"mug": 1, "pot": 1}
    assert (await get_json(client, "/v1/collections/default/review/stats"))["decided"] == 2


async def test_none_forgets_what_feedback_taught_to_a_collection_that_knew_nothing(
    client: httpx.AsyncClient,
) -> None:
    await make(client, "new")
    assert (await give_feedback(client, 7, label="mug", collection="new"))["decision"] is None
    assert (await give_feedback(client, 7, none="true", collection="new"))["replaced_labels"] == ["mug"]
    assert await read_labels(client, "new") == {}


async def test_feedback_replaces_other_labels_where_asked_and_is_taken_back(
    client: httpx.AsyncClient,
) -> None:
    stats = "/v1/collections/default/review/stats"
    await teach(client, "mug", picture(1))
    await teach(client, "pot", picture(2))
    replaced = await give_feedback(client, 1, label="cup", replace="true")
    assert (replaced["replaced_labels"], replaced["other_labels"]) == (["mug"], [])
    assert await read_labels(client) == {"cup": 1, "pot": 1}
    assert (await get_json(client, stats))["relabelled"] == 1
    undone = await give_feedback(client, 1, undo="true")
    assert (undone["decision"], undone["label"], undone["replaced_labels"]) == (None, None, ["cup"])
    assert await read_labels(client) == {"pot": 1}
    assert (await get_json(client, stats))["decided"] == 0
    again = await client.post("/v1/feedback", data={"undo": "true"}, files={"image": picture(1)})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "not_decided")
    for fields in ({"none": "true", "replace": "true"}, {"label": "cup", "undo": "true"}):
        refused = await client.post("/v1/feedback", data=fields, files={"image": picture(1)})
        assert refused.status_code == 422, fields


async def test_feedback_by_image_overrules_the_queue_and_undo_lets_the_picture_wait(
    client: httpx.AsyncClient, services: Services
) -> None:
    (item,) = await unsure(client, services, 1)
    await decide(client, item, label="kettle")
    none = await give_feedback(client, 100, none="true")
    assert none["replaced_labels"] == ["kettle"]
    assert await read_labels(client) == {"mug": 1, "pot": 1}
    second = await decide(client, item, decision="skip")
    assert "none of the labels" in second.json()["detail"], "the queue knows the last word"
    said = {"request_id": item["request_id"], "undo": True}
    assert (await client.post("/v1/feedback", json=said)).status_code == 200
    assert [row["id"] for row in await queue(client)] == [item["id"]]
    assert (await give_feedback(client, 100, label="pan"))["decision"] == "relabelled"
    assert await queue(client) == []
    await give_feedback(client, 100, undo="true")
    assert [row["id"] for row in await queue(client)] == [item["id"]]
    assert await read_labels(client) == {"mug": 1, "pot": 1}


async def test_what_is_right_now_is_what_the_queue_says(
    client: httpx.AsyncClient, services: Services
) -> None:
    """Not the guess that it kept, where the picture was decided otherwise and the service has learned that."""
    (item,) = await unsure(client, services, 1)
    taught = await give_feedback(client, 100, label="kettle")
    right = await give_feedback(client, 100, right="true")
    assert (right["label"], right["example"]) == ("kettle", taught["example"])
    said = {"request_id": item["request_id"], "label": "kettle"}
    again = await client.post("/v1/feedback", json=said)
    assert (again.status_code, again.json().get("label")) == (200, "kettle"), again.text


async def test_by_request_too_the_other_labels_are_named_and_replaced(
    client: httpx.AsyncClient, services: Services
) -> None:
    async def say(**fields: Any) -> dict[str, Any]:
        reply = await client.post("/v1/feedback", json={"request_id": item["request_id"], **fields})
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    (item,) = await unsure(client, services, 1)
    await teach(client, "mug", picture(100))
    assert (await say(label="kettle"))["other_labels"] == ["mug"]
    assert (await say(label="kettle"))["other_labels"] == ["mug"]
    undone = await say(undo=True)
    assert (undone["replaced_labels"], undone["other_labels"]) == (["kettle"], ["mug"])
    assert (await say(none=True))["other_labels"] == ["mug"]
    await say(undo=True)
    await say(label="kettle")
    replaced = await say(label="kettle", replace=True)
    assert (replaced["replaced_labels"], replaced["other_labels"]) == (["mug"], [])
    assert await read_labels(client) == {"kettle": 1, "mug": 1, "pot": 1}
    assert (await say(label="kettle", replace=True))["replaced_labels"] == []


async def test_a_forgotten_example_is_taught_again_and_the_queue_knows_the_new_one(
    client: httpx.AsyncClient, services: Services
) -> None:
    (item,) = await unsure(client, services, 1)
    first = await give_feedback(client, 100, label="kettle")
    gone = await client.delete(f"/v1/collections/default/examples/{first['example']}")
    assert gone.is_success
    second = await give_feedback(client, 100, label="kettle")
    said = {"request_id": item["request_id"], "label": "kettle"}
    assert (await client.post("/v1/feedback", json=said)).json()["example"] == second["example"]


async def test_a_picture_that_is_decided_while_it_is_taken_back_waits_again(
    make_client: ClientMaker, services: Services
) -> None:
    """The decision stands first in line for the collection, and the other looked at the picture before."""
    client = await make_client("in-line")
    (item,) = await unsure(client, services, 1)
    async with services.database.session() as session:
        await find_collection(session, "in-line", "default", lock=True)
        deciding = asyncio.create_task(decide(client, item, label="kettle"))
        await wait_for_locks(services, 1)
        undo = client.post("/v1/feedback", data={"undo": "true"}, files={"image": picture(100)})
        taking_back = asyncio.create_task(undo)
        await wait_for_locks(services, 2)
    assert (await deciding).status_code == 200
    assert (await taking_back).json()["replaced_labels"] == ["kettle"]
    assert [row["id"] for row in await queue(client)] == [item["id"]]


async def wait_for_locks(services: Services, count: int) -> None:
    """Until so many transactions of this database wait for one another; each look is a transaction of its own."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    found = -1
    async with asyncio.timeout(60):
        while found != count:
            async with services.database.session() as session:
                found = await session.scalar(text(waiting)) or 0
            await asyncio.sleep(0.01)


async def test_feedback_by_request_decides_the_kept_picture(
    client: httpx.AsyncClient, services: Services
) -> None:
    async def say(request_id: str, **fields: Any) -> httpx.Response:
        return await client.post("/v1/feedback", json={"request_id": request_id, **fields})

    (item,) = await unsure(client, services, 1)
    told = await say(item["request_id"], label="kettle")
    assert told.status_code == 200, told.text
    assert told.json()["decision"] == "relabelled"
    assert await queue(client) == []
    again = await say(item["request_id"], label="kettle")
    assert again.json()["example"] == told.json()["example"]
    changed = await say(item["request_id"], label="pot")
    assert (changed.status_code, changed.json()["error"]["code"]) == (409, "already_decided")
    nowhere = await say("another-request", label="pot")
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (409, "picture_not_kept")
    assert "image" in nowhere.json()["detail"]
