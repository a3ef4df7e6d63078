"""Learning by one image and classifying: what comes back, in which order, and what is refused."""

from __future__ import annotations

import base64
import json
from contextvars import ContextVar
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event

from app.access import service as access
from tests import learning
from tests.photos import TAUGHT, damage_photo, encode_photo, photo


async def teach(client: httpx.AsyncClient, collection: str = "default") -> None:
    """One photo of each thing."""
    for label, name in TAUGHT.items():
        reply = await client.post(
            f"/v1/collections/{collection}/examples",
            data={"label": label},
            files={"images": encode_photo(photo(name), quality=92)},
        )
        assert reply.status_code == 201, reply.text


async def classify(client: httpx.AsyncClient, image: bytes, **params: Any) -> dict[str, Any]:
    reply = await client.post("/v1/classify", params=params, files={"image": image})
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


async def test_one_example_is_enough(client: httpx.AsyncClient) -> None:
    await teach(client)
    for label, name in TAUGHT.items():
        for kind, data in damage_photo(photo(name)).items():
            answer = await classify(client, data, threshold=0)
            assert answer["label"] == label, (kind, answer)
    assert answer["collection"] == "default"
    assert answer["model"] == "lite"
    assert set(answer["timing_ms"]) == {"decode", "embed", "score", "total"}
    scores = [score["score"] for score in answer["scores"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) + answer["none"] == pytest.approx(1, abs=1e-4)
    assert all(-1 <= score["similarity"] <= 1 + 1e-5 for score in answer["scores"])


async def test_top_k_cuts_and_threshold_decides(client: httpx.AsyncClient) -> None:
    await teach(client)
    cat = encode_photo(photo("chelsea"))
    answer = await classify(client, cat, top_k=2)
    assert len(answer["scores"]) == 2
    refused = await classify(client, cat, threshold=1)
    assert refused["label"] is None
    assert refused["rejected"]
    assert refused["scores"][0]["label"] == "cat"
    accepted = await classify(client, encode_photo(photo("brick")), threshold=0)
    assert not accepted["rejected"]
    assert accepted["label"] == accepted["scores"][0]["label"]


async def test_several_images_answer_in_order(client: httpx.AsyncClient) -> None:
    await teach(client)
    names = ["rocket", "chelsea", "coffee", "chelsea", "camera"]
    files = [("image", encode_photo(photo(name))) for name in names]
    reply = await client.post("/v1/classify", params={"threshold": 0}, files=files)
    labels = {name: label for label, name in TAUGHT.items()}
    assert [row["label"] for row in reply.json()["data"]] == [labels[name] for name in names]


async def test_one_broken_image_among_several_is_named(client: httpx.AsyncClient) -> None:
    await teach(client)
    files = [
        ("image", encode_photo(photo("rocket"))),
        ("image", b"no image"),
        ("image", encode_photo(photo("coffee"))),
    ]
    reply = await client.post("/v1/classify", files=files)
    assert reply.status_code == 422
    assert reply.json()["error"]["code"] == "invalid_image"
    assert reply.json()["detail"].startswith("Image 2 of 3: ")


async def test_every_dress_of_an_image_gives_the_same_answer(client: httpx.AsyncClient) -> None:
    await teach(client)
    data = encode_photo(photo("chelsea"))
    form = await classify(client, data)
    raw = await client.post("/v1/classify", content=data, headers={"Content-Type": "image/png"})
    text = base64.b64encode(data).decode()
    plain = await client.post("/v1/classify", json={"image": text})
    uri = await client.post("/v1/classify", json={"image": f"data:image/gif;base64,{text}", "top_k": 5})
    for reply in (raw, plain, uri):
        assert reply.json()["scores"] == form["scores"]


async def test_an_avif_is_learned_and_recognised_like_any_other(client: httpx.AsyncClient) -> None:
    await learning.teach(client, "cat", encode_photo(photo("chelsea"), "AVIF"))
    await learning.teach(client, "cup", encode_photo(photo("coffee"), "JPEG2000"))
    answer = await classify(client, encode_photo(photo("chelsea"), "AVIF"))
    assert answer["label"] == "cat"
    again = await classify(client, encode_photo(photo("chelsea")))
    assert again["scores"][0]["score"] == pytest.approx(answer["scores"][0]["score"], abs=0.05)


async def test_which_of_several_could_not_be_decoded_is_said(client: httpx.AsyncClient) -> None:
    whole = encode_photo(photo("chelsea"), "AVIF")
    reply = await client.post(
        "/v1/classify",
        data={"labels": "a,b"},
        files=[("images", whole), ("images", whole[: len(whole) // 3])],
    )
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_image")
    assert reply.json()["detail"].startswith("Image 2 of 2: This AVIF image could not be read")


@pytest.mark.parametrize(("name", "label"), [("chelsea", "cat"), ("coffee", "cup of coffee")])
async def test_labels_need_no_example_and_no_collection(
    client: httpx.AsyncClient, name: str, label: str
) -> None:
    answer = await classify(client, encode_photo(photo(name)), labels="cat, dog,cup of coffee,rocket, cat")
    assert answer["scores"][0]["label"] == label
    assert answer["collection"] is None
    assert all(score["similarity"] is None for score in answer["scores"])
    assert sorted(score["label"] for score in answer["scores"]) == ["cat", "cup of coffee", "dog", "rocket"]
    assert sum(score["score"] for score in answer["scores"]) + answer["none"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("dress", ["json", "form"])
async def test_labels_in_a_list_keep_their_commas(client: httpx.AsyncClient, dress: str) -> None:
    image, labels = encode_photo(photo("chelsea")), ["tabby, tabby cat", "tench, Tinca tinca"]
    if dress == "json":
        body = {"labels": labels, "image": base64.b64encode(image).decode()}
        reply = await client.post("/v1/classify", json=body)
    else:
        reply = await client.post("/v1/classify", data={"labels": json.dumps(labels)}, files={"image": image})
    assert {score["label"] for score in reply.json()["scores"]} == set(labels)
    assert reply.json()["scores"][0]["label"] == "tabby, tabby cat"


async def test_labels_may_be_repeated_fields(client: httpx.AsyncClient) -> None:
    image = encode_photo(photo("chelsea"))
    reply = await client.post("/v1/classify", data={"labels": ["cat", "dog"]}, files={"image": image})
    listed = await client.post(
        "/v1/classify", json={"labels": ["cat", "dog"], "image": base64.b64encode(image).decode()}
    )
    assert reply.json()["scores"] == listed.json()["scores"]
    assert len(listed.json()["scores"]) == 2


async def test_an_empty_collection_says_what_to_do(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/classify", files={"image": encode_photo(photo("chelsea"))})
    assert reply.status_code == 409
    assert reply.json()["error"]["code"] == "empty_collection"


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"collection": "nowhere"}, 404, "collection_not_found"),
        ({"collection": "No Slug!"}, 404, "collection_not_found"),
        ({"model": "nothing"}, 404, "model_not_found"),
        ({"model": "/etc"}, 404, "model_not_found"),
        ({"model": "some-org/some-model", "labels": "cat"}, 404, "model_not_found"),
        ({"model": "clip-tiny"}, 409, "encoder_mismatch"),
        ({"threshold": "2"}, 422, "invalid_input"),
        ({"threshold": "often"}, 422, "invalid_input"),
        ({"top_k": "0"}, 422, "invalid_input"),
        ({"labels": ","}, 422, "invalid_input"),
        ({"labels": "a\u0007b"}, 422, "invalid_input"),
        ({"thresold": "0.5"}, 422, "invalid_input"),
    ],
)
async def test_what_cannot_be_answered_is_refused_by_name(
    client: httpx.AsyncClient, params: dict[str, str], status: int, code: str
) -> None:
    reply = await client.post("/v1/classify", params=params, files={"image": encode_photo(photo("chelsea"))})
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text


async def test_another_encoder_answers_where_labels_are_given(client: httpx.AsyncClient) -> None:
    answer = await classify(
        client, encode_photo(photo("chelsea")), labels="red circle,blue square", model="clip-tiny"
    )
    assert answer["model"] == "clip-tiny"


async def test_no_image_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/classify", data={"labels": "cat"})
    assert reply.status_code in (415, 422)


async def test_classifying_asks_the_database_nothing(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the service asks by itself meanwhile does not count; the key is looked up before, for all of them."""
    monkeypatch.setattr(access, "REMEMBER_SECONDS", 600)
    await teach(client)
    await classify(client, encode_photo(photo("chelsea")))
    asked: list[str] = []
    is_ours = ContextVar("is_ours", default=False)
    engine = app.state.services.database.engine.sync_engine

    def count(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if is_ours.get():
            asked.append(statement)

    await classify(client, encode_photo(photo("coffee")))
    is_ours.set(True)
    event.listen(engine, "before_cursor_execute", count)
    try:
        answers = [await classify(client, encode_photo(photo("rocket"), quality=q)) for q in range(50, 60)]
        assert asked == []
        assert (await client.get("/v1/collections/default/examples")).is_success
        assert asked, "what is asked would be seen"
    finally:
        event.remove(engine, "before_cursor_execute", count)
    assert {answer["scores"][0]["label"] for answer in answers} == {"rocket"}
