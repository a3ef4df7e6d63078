"""Examples get another label and labels another name, one by one and many at once; heads and other writers keep up."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from tests.conftest import ClientMaker
from tests.learning import ask, get_json, picture, teach

COLLECTION = "/v1/collections/default"
EXAMPLES = f"{COLLECTION}/examples"


async def labels_of(client: httpx.AsyncClient) -> dict[str, int]:
    rows = (await get_json(client, f"{COLLECTION}/labels"))["data"]
    return {row["label"]: row["examples"] for row in rows}


async def version_of(client: httpx.AsyncClient) -> int:
    return int((await get_json(client, COLLECTION))["version"])


async def bulk(client: httpx.AsyncClient, ids: list[str], **change: Any) -> httpx.Response:
    return await client.post(f"{EXAMPLES}/bulk", json={"ids": ids, **change})


async def test_the_next_answer_knows_the_new_label_and_the_old_one_goes_with_its_last_example(
    client: httpx.AsyncClient,
) -> None:
    (wrong,) = await teach(client, "cat", picture(1))
    await teach(client, "dog", picture(2))
    assert (await ask(client, picture(1)))["label"] == "cat"
    before = await version_of(client)
    reply = await client.patch(f"{EXAMPLES}/{wrong['id']}", json={"label": "  fox  "})
    assert reply.status_code == 200, reply.text
    assert reply.json()["label"] == "fox"
    assert reply.json()["image_sha256"] == wrong["image_sha256"]
    assert await version_of(client) == before + 1
    answer = await ask(client, picture(1))
    assert answer["label"] == "fox"
    assert {score["label"] for score in answer["scores"]} == {"dog", "fox"}
    assert await labels_of(client) == {"dog": 1, "fox": 1}
    again = await client.patch(f"{EXAMPLES}/{wrong['id']}", json={"label": "fox"})
    assert again.json() == reply.json()
    assert await version_of(client) == before + 1
    back = await client.patch(f"{EXAMPLES}/{wrong['id']}", json={"label": "cat"})
    assert back.status_code == 200
    assert (await ask(client, picture(1)))["label"] == "cat"


async def test_a_picture_that_has_the_label_already_is_refused_and_nothing_changes(
    client: httpx.AsyncClient,
) -> None:
    (first,) = await teach(client, "cat", picture(1))
    (second,) = await teach(client, "dog", picture(1))
    version = await version_of(client)
    reply = await client.patch(f"{EXAMPLES}/{second['id']}", json={"label": "cat"})
    assert reply.status_code == 409
    assert reply.json()["error"]["code"] == "example_exists"
    assert first["id"] in reply.json()["detail"]
    assert second["id"] in reply.json()["detail"]
    assert await labels_of(client) == {"cat": 1, "dog": 1}
    assert await version_of(client) == version


async def test_a_label_gets_a_new_name_with_all_that_it_has(client: httpx.AsyncClient) -> None:
    added = await teach(client, "either/or", picture(1), picture(2), description="a choice")
    await teach(client, "dog", picture(3))
    before = await version_of(client)
    reply = await client.patch(f"{COLLECTION}/labels/either%2For", json={"name": "both"})
    assert reply.status_code == 200, reply.text
    assert reply.json() == {
        "label": "both",
        "description": "a choice",
        "examples": 2,
        "removed": [],
        "collection_version": before + 1,
    }
    assert (await ask(client, picture(1)))["label"] == "both"
    rows = (await get_json(client, EXAMPLES, label="both"))["data"]
    assert {row["id"] for row in rows} == {example["id"] for example in added}
    gone = await client.patch(f"{COLLECTION}/labels/either%2For", json={"name": "both"})
    assert gone.status_code == 404
    assert gone.json()["error"]["code"] == "label_not_found"
    assert "both" in gone.json()["detail"]
    same = await client.patch(f"{COLLECTION}/labels/both", json={"name": "both"})
    assert same.json() == reply.json()


async def test_a_name_that_is_taken_is_refused_unless_the_two_are_put_together(
    client: httpx.AsyncClient,
) -> None:
    twins = [(await teach(client, label, picture(1)))[0] for label in ("mug", "cup")]
    await teach(client, "mug", picture(2), description="for coffee")
    await teach(client, "dog", picture(3))
    taken = await client.patch(f"{COLLECTION}/labels/mug", json={"name": "cup"})
    assert taken.status_code == 409
    assert taken.json()["error"]["code"] == "label_exists"
    assert await labels_of(client) == {"cup": 1, "dog": 1, "mug": 2}
    merged = await client.patch(f"{COLLECTION}/labels/mug", json={"name": "cup", "merge": True})
    assert merged.status_code == 200, merged.text
    assert merged.json()["examples"] == 2
    assert merged.json()["removed"] == [twins[0]["id"]]
    assert merged.json()["description"] == "for coffee"
    assert await labels_of(client) == {"cup": 2, "dog": 1}
    assert (await ask(client, picture(2)))["label"] == "cup"


async def test_many_change_together_or_not_at_all(client: httpx.AsyncClient) -> None:
    added = await teach(client, "cat", *(picture(seed) for seed in range(4)))
    await teach(client, "dog", picture(9))
    ids = [example["id"] for example in added]
    absent = str(uuid.uuid4())
    for change in ({"label": "fox"}, {"delete": True}):
        reply = await bulk(client, [*ids, absent], **change)
        assert reply.status_code == 404
        assert absent in reply.json()["detail"]
    (twin,) = await teach(client, "fox", picture(0))
    version = await version_of(client)
    assert (await bulk(client, ids, label="fox")).status_code == 409
    assert await labels_of(client) == {"cat": 4, "dog": 1, "fox": 1}
    assert await version_of(client) == version
    reply = await bulk(client, ids, label="fox", merge=True)
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert (set(found["changed"]), found["removed"]) == (set(ids[1:]), ids[:1])
    assert found["collection_version"] == await version_of(client) > version
    assert await labels_of(client) == {"dog": 1, "fox": 4}
    assert (await ask(client, picture(2)))["label"] == "fox"
    gone = await bulk(client, [*ids[1:], *ids[1:], twin["id"]], delete=True)
    assert set(gone.json()["removed"]) == {*ids[1:], twin["id"]}
    assert await labels_of(client) == {"dog": 1}
    assert (await ask(client, picture(2)))["label"] == "dog"


@pytest.mark.parametrize(
    "body",
    [
        {"ids": []},
        {"ids": [str(uuid.uuid4())]},
        {"ids": [str(uuid.uuid4())], "label": "a", "delete": True},
        {"ids": [str(uuid.uuid4())], "delete": True, "merge": True},
        {"ids": [str(uuid.uuid4())], "label": "  "},
        {"ids": [str(uuid.uuid4())], "label": "a\x00"},
        {"ids": ["nonsense"] * 3, "label": "a"},
        {"ids": [str(uuid.uuid4()) for _ in range(1_001)], "label": "a"},
        {"ids": [str(uuid.uuid4())], "label": "a", "surprise": 1},
    ],
)
async def test_a_bad_bulk_is_refused_in_a_sentence(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    reply = await client.post(f"{EXAMPLES}/bulk", json=body)
    assert reply.status_code == 422, reply.text
    assert len(reply.json()["detail"]) < 1_000


async def test_two_relabels_at_once_leave_one_of_the_two_labels(client: httpx.AsyncClient) -> None:
    (example,) = await teach(client, "start", picture(1))
    await teach(client, "other", picture(2))
    place, names = f"{EXAMPLES}/{example['id']}", [f"label {i}" for i in range(8)]
    replies = await asyncio.gather(*(client.patch(place, json={"label": name}) for name in names))
    assert {reply.status_code for reply in replies} == {200}
    now = (await get_json(client, place))["label"]
    assert now in names
    assert await labels_of(client) == {now: 1, "other": 1}
    assert (await ask(client, picture(1)))["label"] == now


async def test_relabelling_what_is_being_deleted_is_either_or(client: httpx.AsyncClient) -> None:
    await teach(client, "other", picture(99))
    added = await teach(client, "start", *(picture(seed) for seed in range(6)))
    calls = []
    for example in added:
        calls += [
            client.patch(f"{EXAMPLES}/{example['id']}", json={"label": "moved"}),
            client.delete(f"{EXAMPLES}/{example['id']}"),
        ]
    replies = await asyncio.gather(*calls)
    assert {reply.status_code for reply in replies[::2]} <= {200, 404}
    assert {reply.status_code for reply in replies[1::2]} == {204}
    assert await labels_of(client) == {"other": 1}
    assert [score["label"] for score in (await ask(client, picture(1)))["scores"]] == ["other"]


async def test_teaching_the_old_name_while_it_is_renamed_loses_nothing(client: httpx.AsyncClient) -> None:
    await teach(client, "old", picture(0))
    await teach(client, "other", picture(99))
    calls = [teach(client, "old", picture(seed)) for seed in range(1, 9)]
    renames = [
        client.patch(f"{COLLECTION}/labels/old", json={"name": "new", "merge": True}) for _ in range(4)
    ]
    results = await asyncio.gather(*calls[:4], renames[0], *calls[4:], *renames[1:])
    statuses = {result.status_code for result in results if isinstance(result, httpx.Response)}
    assert statuses <= {200, 404}
    found = await labels_of(client)
    assert sum(found.get(name, 0) for name in ("old", "new")) == 9
    if "old" in found:
        last = await client.patch(f"{COLLECTION}/labels/old", json={"name": "new", "merge": True})
        assert last.status_code == 200
    assert await labels_of(client) == {"new": 9, "other": 1}
    for seed in range(9):
        assert (await ask(client, picture(seed)))["label"] == "new"


async def test_a_workspace_changes_only_its_own(client: httpx.AsyncClient, make_client: ClientMaker) -> None:
    (example,) = await teach(client, "cat", picture(1))
    stranger = await make_client()
    for reply in (
        await stranger.patch(f"{EXAMPLES}/{example['id']}", json={"label": "dog"}),
        await stranger.patch(f"{COLLECTION}/labels/cat", json={"name": "dog"}),
        await bulk(stranger, [example["id"]], label="dog"),
        await bulk(stranger, [example["id"]], delete=True),
    ):
        assert reply.status_code == 404
    assert await labels_of(client) == {"cat": 1}


async def test_changing_takes_the_scope_to_teach(client: httpx.AsyncClient, make_client: ClientMaker) -> None:
    reader = await make_client(scopes=("recognise",))
    place = f"{EXAMPLES}/{uuid.uuid4()}"
    for reply in (
        await reader.patch(place, json={"label": "dog"}),
        await reader.patch(f"{COLLECTION}/labels/cat", json={"name": "dog"}),
        await bulk(reader, [str(uuid.uuid4())], label="dog"),
    ):
        assert reply.status_code == 403


async def test_examples_are_found_by_their_image(client: httpx.AsyncClient) -> None:
    one = [(await teach(client, label, picture(1)))[0] for label in ("cat", "dog")]
    await teach(client, "cat", picture(2))
    rows = (await get_json(client, EXAMPLES, image_sha256=one[0]["image_sha256"]))["data"]
    assert {row["id"] for row in rows} == {row["id"] for row in one}
    wrong = await client.get(EXAMPLES, params={"image_sha256": "\0"})
    assert wrong.status_code == 422
