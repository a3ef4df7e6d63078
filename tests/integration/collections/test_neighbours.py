"""The examples that look most like what is classified; pictures that are alike, as a collection's health finds them."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import pytest
from PIL import Image
from sqlalchemy import text

from app.bootstrap import Services
from tests.conftest import ClientMaker
from tests.learning import get_json, picture, teach


async def classify(client: httpx.AsyncClient, *images: bytes, **fields: Any) -> Any:
    reply = await client.post("/v1/classify", data=fields, files=[("images", image) for image in images])
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_each_image_of_a_request_has_its_own_nearest_examples(client: httpx.AsyncClient) -> None:
    taught = [(await teach(client, f"label {seed}", picture(seed)))[0] for seed in range(4)]
    answers = (await classify(client, picture(2), picture(0), neighbours=3))["data"]
    for answer, example in zip(answers, (taught[2], taught[0]), strict=True):
        assert len(answer["neighbours"]) == 3
        best = answer["neighbours"][0]
        assert (best["id"], best["label"], best["image"]) == (
            example["id"],
            example["label"],
            example["image"],
        )
        assert best["similarity"] == pytest.approx(1, abs=1e-3)
        likeness = [near["similarity"] for near in answer["neighbours"]]
        assert likeness == sorted(likeness, reverse=True)
        thumbnail = await client.get(best["image"])
        assert Image.open(io.BytesIO(thumbnail.content)).size == (96, 96)
    body = {"image": base64.b64encode(picture(1)).decode(), "neighbours": 20}
    written = (await client.post("/v1/classify", json=body)).json()
    assert len(written["neighbours"]) == 4, "as many as there are"
    assert written["neighbours"][0]["id"] == taught[1]["id"]
    assert (await classify(client, picture(1)))["neighbours"] is None
    assert (await classify(client, picture(1), neighbours=0))["neighbours"] is None


async def test_neighbours_follow_a_relabel_and_a_removal(client: httpx.AsyncClient) -> None:
    (first,) = await teach(client, "cat", picture(1))
    (second,) = await teach(client, "dog", picture(2))
    await client.patch(f"/v1/collections/default/examples/{first['id']}", json={"label": "fox"})
    answer = await classify(client, picture(1), neighbours=1)
    assert [near["label"] for near in answer["neighbours"]] == ["fox"]
    await client.delete(f"/v1/collections/default/examples/{first['id']}")
    answer = await classify(client, picture(1), neighbours=2)
    assert [near["id"] for near in answer["neighbours"]] == [second["id"]]


async def test_labels_by_name_have_no_neighbours(client: httpx.AsyncClient) -> None:
    await teach(client, "cat", picture(1))
    answer = await classify(client, picture(1), labels="cat,dog", neighbours=5)
    assert (answer["neighbours"], answer["collection"]) == ([], None)
    empty = await client.post("/v1/collections", json={"name": "empty"})
    assert empty.status_code == 201
    reply = await client.post(
        "/v1/classify", data={"collection": "empty", "neighbours": 5}, files={"image": picture(1)}
    )
    assert reply.json()["error"]["code"] == "empty_collection"


@pytest.mark.parametrize("wrong", ["21", "-1", "1.5", "many"])
async def test_so_many_neighbours_are_refused(client: httpx.AsyncClient, wrong: str) -> None:
    reply = await client.post("/v1/classify", data={"neighbours": wrong}, files={"image": picture(1)})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_input")
    assert "neighbours" in reply.json()["detail"]


async def test_health_finds_the_same_picture_again_and_labels_of_few(client: httpx.AsyncClient) -> None:
    (cat,) = await teach(client, "cat", picture(1))
    (dog,) = await teach(client, "dog", picture(1))
    again = io.BytesIO()
    Image.open(io.BytesIO(picture(2))).convert("RGB").save(again, "JPEG", quality=90)
    birds = await teach(client, "bird", picture(2), again.getvalue(), picture(3))
    found = await get_json(client, "/v1/collections/default/health")
    across, same = found["near_duplicates"]
    assert (set(across["examples"]), set(across["labels"])) == ({cat["id"], dog["id"]}, {"cat", "dog"})
    assert across["similarity"] == pytest.approx(1, abs=1e-3)
    assert (set(same["examples"]), same["labels"]) == ({birds[0]["id"], birds[1]["id"]}, ["bird", "bird"])
    assert 0.98 < same["similarity"] <= 1
    for pair in (across, same):
        for example, image in zip(pair["examples"], pair["images"], strict=True):
            assert example in image
            assert (await client.get(image)).headers["content-type"] == "image/jpeg"
    assert found["near_duplicates_total"] == 2
    assert found["small_labels"] == [{"label": "cat", "examples": 1}, {"label": "dog", "examples": 1}]
    short = await get_json(client, "/v1/collections/default/health", limit=1)
    assert short["near_duplicates"] == [across]
    assert (short["near_duplicates_total"], len(short["small_labels"])) == (2, 1)
    said = " ".join(short["notes"])
    assert "1 of 2 near-duplicates" in said
    assert "1 of 2 small labels" in said


async def test_health_says_that_it_compared_a_sample(client: httpx.AsyncClient, services: Services) -> None:
    added = await teach(client, "cat", *(picture(seed) for seed in range(5)))
    async with services.database.session() as session:
        workspace = await session.scalar(
            text(
                "SELECT c.workspace FROM collections c JOIN examples e ON e.collection_id = c.id WHERE e.id = :id"
            ),
            {"id": added[0]["id"]},
        )
    found = await services.recognition.examine(workspace, "default", 10, 3)
    assert any("among 3 of 5 examples" in note for note in found.notes)
    assert not any(
        "among" in note for note in (await get_json(client, "/v1/collections/default/health"))["notes"]
    )


async def test_labels_of_the_same_pictures_overlap(
    client: httpx.AsyncClient, make_client: ClientMaker
) -> None:
    # two names for the same thing: stripes of many colours, taught alternately
    def stripes(seed: int) -> bytes:
        drawn = Image.new("RGB", (96, 96), ((37 * seed) % 256, (91 * seed) % 256, (53 * seed) % 256))
        for x in range(0, 96, 16):
            drawn.paste(((200 + seed) % 256, (11 * seed) % 256, 30), (x, 0, x + 8, 96))
        buffer = io.BytesIO()
        drawn.save(buffer, "PNG")
        return buffer.getvalue()

    await teach(client, "stripes", *(stripes(seed) for seed in range(0, 16, 2)))
    await teach(client, "lines", *(stripes(seed) for seed in range(1, 17, 2)))
    await teach(client, "noise", *(picture(seed) for seed in range(8)))
    found = await get_json(client, "/v1/collections/default/health")
    assert [set(pair["labels"]) for pair in found["overlapping_labels"]] == [{"stripes", "lines"}]
    (pair,) = found["overlapping_labels"]
    assert pair["share"] >= 0.15
    assert 0 < pair["similarity"] <= 1
    assert "left out" in pair["sentence"]
    # the same of labels that are too small to leave any of their examples out
    few = await make_client()
    await teach(few, "stripes", stripes(1), stripes(2))
    await teach(few, "lines", stripes(1), stripes(2))
    await teach(few, "noise", picture(1), picture(2))
    found = await get_json(few, "/v1/collections/default/health")
    assert [set(pair["labels"]) for pair in found["overlapping_labels"]] == [{"stripes", "lines"}]
    assert found["overlapping_labels"][0]["share"] is None
    assert "as like" in found["overlapping_labels"][0]["sentence"]
