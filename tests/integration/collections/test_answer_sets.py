"""Answer sets, label shares and a collection's health: what is promised, what is said, and what is found."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from tests.conftest import ClientMaker
from tests.learning import ask, get_json, make, teach
from tests.photos import encode_photo

COLOURS = {"red": (200, 60, 60), "blue": (60, 60, 200)}
BETWEEN = (130, 60, 130)
MANY, FEW = 24, 2


def draw_coloured(label: str, seed: int) -> bytes:
    """A small picture of one colour, disturbed by chance."""
    noise = np.random.default_rng(seed).integers(-50, 50, (6, 6, 3))
    blocks = np.clip(np.array(COLOURS.get(label, BETWEEN)) + noise, 0, 255).astype(np.uint8)
    return encode_photo(Image.fromarray(blocks).resize((72, 72)), "PNG")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def workspace(app: object) -> str:
    """Of the collections that this module's tests share."""
    return "answer-sets"


@pytest_asyncio.fixture(loop_scope="session")
async def taught(make_client: ClientMaker, workspace: str) -> httpx.AsyncClient:
    """`many` holds 24 pictures of red and 24 of blue, one more of red taught as blue; `few` 2 of each."""
    client = await make_client(workspace=workspace)
    if len((await get_json(client, "/v1/collections"))["data"]) > 1:
        return client
    for name, count in (("many", MANY), ("few", FEW)):
        await make(client, name, "clip-tiny")
        for place, label in enumerate(COLOURS):
            images = [draw_coloured(label, 100 * place + i) for i in range(count)]
            await teach(client, label, *images, collection=name)
    await teach(client, "blue", draw_coloured("red", 999), collection="many")
    return client


async def answer_set(client: httpx.AsyncClient, image: bytes, **params: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await ask(client, image, **params))["answer_set"]
    return found


async def test_enough_examples_promise_each_label_its_coverage(taught: httpx.AsyncClient) -> None:
    files = [("image", draw_coloured(label, 5_000 + i)) for i in range(10) for label in COLOURS]
    params = {"collection": "many", "coverage": 0.9}
    reply = await taught.post("/v1/classify", params=params, files=files)
    sets = [row["answer_set"] for row in reply.json()["data"]]
    assert {(found["coverage"], found["guarantee"]) for found in sets} == {(0.9, "label")}
    assert not any(found["warnings"] for found in sets)
    right = [label in found["labels"] for found, label in zip(sets, list(COLOURS) * 10, strict=True)]
    assert sum(right) >= 16
    assert any(len(found["labels"]) == 1 for found in sets)


async def test_nobody_who_asks_for_no_coverage_gets_a_set(taught: httpx.AsyncClient) -> None:
    assert (await ask(taught, draw_coloured("red", 1), collection="many"))["answer_set"] is None


@pytest.mark.parametrize(
    ("params", "code", "words"),
    [
        (
            {"collection": "few"},
            "too_few_examples",
            ["4 different examples of 2 labels", "median of 2", "takes 20"],
        ),
        ({"labels": "red,blue", "model": "clip-tiny"}, "no_examples", ["names alone"]),
    ],
)
async def test_where_nothing_is_promised_a_sentence_says_why(
    taught: httpx.AsyncClient, params: dict[str, str], code: str, words: list[str]
) -> None:
    found = await answer_set(taught, draw_coloured("red", 7), coverage=0.9, **params)
    assert (found["guarantee"], [warning["code"] for warning in found["warnings"]]) == ("none", [code])
    assert all(word in found["warnings"][0]["sentence"] for word in words), found
    assert 1 <= len(found["labels"]) <= 2


async def test_a_coverage_that_keeps_every_label_in_says_so(taught: httpx.AsyncClient) -> None:
    found = await answer_set(taught, draw_coloured("red", 7), collection="many", coverage=0.999)
    assert set(found["labels"]) == set(COLOURS)
    assert found["warnings"][0]["code"] == "labels_always_in"
    assert "999 examples" in found["warnings"][0]["sentence"]


@pytest.mark.parametrize("coverage", ["0.49", "1", "much"])
async def test_a_coverage_out_of_range_is_refused(taught: httpx.AsyncClient, coverage: str) -> None:
    params = {"coverage": coverage}
    reply = await taught.post("/v1/classify", params=params, files={"image": draw_coloured("red", 7)})
    assert reply.status_code == 422
    assert "coverage" in reply.json()["detail"]


async def test_label_shares_favour_the_frequent_label_from_the_next_answer_on(
    client: httpx.AsyncClient,
) -> None:
    made = await client.post(
        "/v1/collections", json={"name": "uneven", "encoder": "clip-tiny", "label_shares": "examples"}
    )
    assert made.json()["label_shares"] == "examples"
    await teach(client, "red", *[draw_coloured("red", i) for i in range(12)], collection="uneven")
    await teach(client, "blue", *[draw_coloured("blue", i) for i in range(3)], collection="uneven")

    async def odds() -> float:
        answer = await ask(client, draw_coloured("violet", 77), collection="uneven")
        scores = {score["label"]: score["score"] for score in answer["scores"]}
        return scores["red"] / scores["blue"]

    before = await odds()
    changed = await client.patch("/v1/collections/uneven", json={"label_shares": "equal"})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["label_shares"], changed.json()["version"]) == ("equal", 3)
    assert await get_json(client, "/v1/collections/uneven") == changed.json()
    assert before == pytest.approx(await odds() * 13 / 4, rel=0.02)  # the shares, one example added to each


async def test_a_change_names_one_thing_that_exists(client: httpx.AsyncClient) -> None:
    for body in ({}, {"encoder": "clip-tiny", "label_shares": "equal"}, {"label_shares": "all"}):
        refused = await client.patch("/v1/collections/default", json=body)
        assert refused.status_code == 422, refused.text
        assert "label_shares" in refused.json()["detail"]
    assert (await client.patch("/v1/collections/gone", json={"label_shares": "equal"})).status_code == 404
    # nothing was fitted yet, so that `default` goes on following the service's default encoder
    changed = await client.patch("/v1/collections/default", json={"label_shares": "examples"})
    assert (changed.json()["label_shares"], changed.json()["version"]) == ("examples", 0)


async def test_health_names_an_example_with_a_wrong_label(taught: httpx.AsyncClient) -> None:
    found = await get_json(taught, "/v1/collections/many/health")
    assert (found["examples"], found["examined"]) == (2 * MANY + 1, 2 * MANY + 1)
    examples = (await get_json(taught, "/v1/collections/many/examples", limit=100))["data"]
    wrong = max((row for row in examples if row["label"] == "blue"), key=lambda row: row["created_at"])
    worst = found["suspects"][0]
    assert (worst["id"], worst["label"], worst["told"]) == (wrong["id"], "blue", "red")
    assert worst["probability"] < 0.5
    assert (await taught.get(worst["image"])).status_code == 200
    assert {row["label"]: row["examples"] for row in found["labels"]} == {"red": MANY, "blue": MANY + 1}
    assert all(0.5 < row["recall"] <= 1 for row in found["labels"])
    short = await get_json(taught, "/v1/collections/many/health", limit=1)
    assert (len(short["suspects"]), len(short["labels"])) == (1, 1)
    assert any("1 of 2 labels" in note for note in short["notes"])


async def test_health_says_what_it_cannot_tell(taught: httpx.AsyncClient) -> None:
    few = await get_json(taught, "/v1/collections/few/health")
    assert (few["examined"], few["suspects"], [row["recall"] for row in few["labels"]]) == (
        0,
        [],
        [None, None],
    )
    assert "median of 2" in few["notes"][0]
    await make(taught, "nothing", "clip-tiny")
    nothing = await get_json(taught, "/v1/collections/nothing/health")
    assert (nothing["labels"], nothing["notes"]) == ([], ["Nothing was taught yet."])
    await teach(taught, "red", draw_coloured("red", 1), draw_coloured("red", 2), collection="nothing")
    assert "single label" in (await get_json(taught, "/v1/collections/nothing/health"))["notes"][0]
    assert (await taught.get("/v1/collections/gone/health")).status_code == 404
    assert (await taught.get("/v1/collections/few/health", params={"limit": 10**6})).status_code == 422
