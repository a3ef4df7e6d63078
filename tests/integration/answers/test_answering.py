"""Questions, captions and answer examples over HTTP: right answers, and clear words where there are none."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import uuid
from typing import Any

import httpx
import pytest

from app.bootstrap import Services
from tests import shapes
from tests.conftest import ClientMaker
from tests.learning import teach

COLOR = "what color is the shape?"


async def vqa(client: httpx.AsyncClient, number: int, question: str = COLOR, **fields: Any) -> httpx.Response:
    return await client.post(
        "/v1/vqa", data={"question": question, **fields}, files={"image": shapes.data(number)}, timeout=120
    )


async def add(
    client: httpx.AsyncClient, number: int, question: str, answer: str, collection: str = "default"
) -> dict[str, Any]:
    reply = await client.post(
        f"/v1/collections/{collection}/answers",
        data={"question": question, "answer": answer},
        files={"image": shapes.data(number)},
    )
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_a_question_is_answered_in_every_dress(client: httpx.AsyncClient) -> None:
    color = shapes.list_shapes()[0][0]
    form = await vqa(client, 0)
    raw = await client.post(
        "/v1/vqa", params={"question": COLOR}, content=shapes.data(0), headers={"content-type": "image/png"}
    )
    encoded = base64.b64encode(shapes.data(0)).decode()
    written = await client.post("/v1/vqa", json={"question": COLOR, "image": encoded})
    for reply in (form, raw, written):
        assert reply.status_code == 200, reply.text
        assert reply.json()["answer"] == color
        assert reply.json()["examples_used"] == []
    usage = form.json()["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    timing = form.json()["timing_ms"]
    assert timing["total"] == pytest.approx(
        timing["decode"] + timing["examples"] + timing["generate"], abs=0.01
    )


async def test_streaming_gives_the_same_answer_in_pieces(client: httpx.AsyncClient) -> None:
    whole = (await vqa(client, 0, "describe the image.")).json()
    reply = await vqa(client, 0, "describe the image.", stream="true")
    assert reply.headers["content-type"].startswith("text/event-stream")
    *tokens, (last, done) = events(reply.text)
    assert {name for name, _ in tokens} == {"token"}
    assert "".join(data["text"] for _, data in tokens) == whole["answer"]
    assert last == "done"
    assert done["answer"] == whole["answer"]


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": "nothing-like-it"}, 404, "model_not_found"),
        ({"collection": "nowhere"}, 404, "collection_not_found"),
        ({"question": "what? " * 300, "max_new_tokens": "512"}, 422, "question_too_long"),
    ],
)
async def test_a_stream_that_never_begins_keeps_its_status(
    client: httpx.AsyncClient, fields: dict[str, str], status: int, code: str
) -> None:
    reply = await vqa(client, 0, **{"question": COLOR, "stream": "true"} | fields)
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("fields", [{}, {"model": "blip-shapes-caption"}, {"prompt": "a photo of"}])
async def test_a_caption_names_colour_and_shape(client: httpx.AsyncClient, fields: dict[str, str]) -> None:
    reply = await client.post("/v1/caption", data=fields, files={"image": shapes.data(0)})
    assert reply.status_code == 200, reply.text
    assert reply.json()["caption"] == "a {} {}".format(*shapes.list_shapes()[0])


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"question": ""}, 422, "invalid_input"),
        ({"question": "   "}, 422, "invalid_input"),
        ({"question": "x" * 2_001}, 422, "question_too_long"),
        ({"question": "what color is it? " * 100, "max_new_tokens": "512"}, 422, "question_too_long"),
        ({"model": "lite"}, 422, "model_cannot"),
        ({"model": "blip-shapes-caption"}, 422, "model_cannot"),
        ({"model": "/etc"}, 404, "model_not_found"),
        ({"model": "llava-hf/llava-1.5-7b-hf"}, 404, "model_not_found"),
        ({"model": "remote"}, 404, "model_not_found"),
        ({"collection": "nowhere"}, 404, "collection_not_found"),
        ({"collection": "../x"}, 404, "collection_not_found"),
        ({"k": "-1"}, 422, "invalid_input"),
        ({"k": "1000"}, 422, "invalid_input"),
        ({"k": "many"}, 422, "invalid_input"),
        ({"max_new_tokens": "0"}, 422, "invalid_input"),
        ({"max_new_tokens": "100000"}, 422, "invalid_input"),
        ({"temperature": "-1"}, 422, "invalid_input"),
        ({"temperature": "nan"}, 422, "invalid_input"),
        ({"top_p": "0"}, 422, "invalid_input"),
        ({"stream": "perhaps"}, 422, "invalid_input"),
        ({"qestion": "what?"}, 422, "invalid_input"),
    ],
)
async def test_what_cannot_be_asked_is_named(
    client: httpx.AsyncClient, fields: dict[str, str], status: int, code: str
) -> None:
    reply = await client.post(
        "/v1/vqa", data={"question": COLOR} | fields, files={"image": shapes.data(0)}, timeout=120
    )
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text


async def test_an_image_is_needed_and_must_be_one(client: httpx.AsyncClient) -> None:
    none = await client.post("/v1/vqa", data={"question": COLOR})
    files = [("image", shapes.data(0)), ("image", shapes.data(1))]
    two = await client.post("/v1/vqa", data={"question": COLOR}, files=files)
    broken = await client.post("/v1/vqa", data={"question": COLOR}, files={"image": b"GIF89a..."})
    assert [reply.status_code for reply in (two, broken)] == [422, 422]
    assert none.status_code in (415, 422)
    assert broken.json()["error"]["code"] == "invalid_image"


async def test_answer_examples_are_kept_listed_and_forgotten(client: httpx.AsyncClient) -> None:
    made = [await add(client, number, COLOR, f"answer {number}") for number in range(5)]
    assert all(example["created"] for example in made)
    again = await add(client, 0, COLOR, "another answer")
    assert (again["id"], again["created"], again["answer"]) == (made[0]["id"], False, "another answer")
    path, listed, cursor = "/v1/collections/default/answers", [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(path, params=params)).json()
        listed += page["data"]
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted(example["id"] for example in listed) == sorted(example["id"] for example in made)
    one = made[0]["id"]
    assert (await client.get(f"{path}/{one}")).json()["answer"] == "another answer"
    image = await client.get(f"{path}/{one}/image")
    assert image.headers["content-type"] == "image/jpeg"
    assert (await client.delete(f"{path}/{one}")).status_code == 204
    assert (await client.get(f"{path}/{one}")).status_code == 404
    assert (await client.delete(f"{path}/{one}")).json()["error"]["code"] == "answer_example_not_found"


async def test_the_longest_question_of_any_script_is_kept(client: httpx.AsyncClient) -> None:
    letters = random.Random(0).choices([chr(code) for code in range(0x4E00, 0x9FFF)], k=2_000)
    question = "".join(letters)  # three bytes a letter, and nothing that compression could shorten
    first = await add(client, 0, question, "one")
    again = await add(client, 0, question, "two")
    other = await add(client, 0, question[:-1], "three")
    assert (again["id"], again["created"], again["question"]) == (first["id"], False, question)
    assert other["created"]


@pytest.mark.parametrize("cursor", ["x", "!!!", "WyJhIl0", "W10", "é"])
async def test_a_cursor_that_is_none_is_refused(client: httpx.AsyncClient, cursor: str) -> None:
    reply = await client.get("/v1/collections/default/answers", params={"cursor": cursor})
    assert reply.status_code == 422


async def test_the_most_similar_examples_are_shown_and_named(client: httpx.AsyncClient) -> None:
    for number in range(6):
        await add(client, number, COLOR, shapes.list_shapes().get(number, ("red", "circle"))[0])
    await add(client, 3, "is it round?", "no")
    shown = (await vqa(client, 3, collection="default", k=3)).json()["examples_used"]
    assert len(shown) == 3
    # the same image twice is a tie that the question decides
    assert [example["question"] for example in shown[:2]] == [COLOR, "is it round?"]
    assert shown[0]["similarity"] == pytest.approx(1.0, abs=1e-3)
    assert [example["similarity"] for example in shown] == sorted(
        (example["similarity"] for example in shown), reverse=True
    )
    assert (await vqa(client, 3, collection="default", k=0)).json()["examples_used"] == []
    assert (await vqa(client, 3)).json()["examples_used"] == []


async def test_workspaces_do_not_see_one_anothers_answers(make_client: ClientMaker) -> None:
    mine, theirs = await make_client(), await make_client()
    made = await add(mine, 0, COLOR, "blue")
    path = "/v1/collections/default/answers"
    assert (await theirs.get(path)).json()["data"] == []
    for method, address in [("GET", made["id"]), ("DELETE", made["id"]), ("GET", made["id"] + "/image")]:
        assert (await theirs.request(method, f"{path}/{address}")).status_code == 404
    assert (await vqa(theirs, 0, collection="default")).json()["examples_used"] == []
    assert len((await mine.get(path)).json()["data"]) == 1


async def test_scopes_hold(make_client: ClientMaker) -> None:
    reader = await make_client(scopes=("recognise",))
    assert (await vqa(reader, 0)).status_code == 200
    reply = await reader.post(
        "/v1/collections/default/answers",
        data={"question": COLOR, "answer": "x"},
        files={"image": shapes.data(0)},
    )
    assert reply.status_code == 403
    assert (await reader.delete(f"/v1/collections/default/answers/{uuid.uuid4()}")).status_code == 403


async def test_an_image_shared_by_a_label_outlives_the_answer(
    client: httpx.AsyncClient, services: Services
) -> None:
    labelled = (await teach(client, "thing", shapes.data(7)))[0]
    made = await add(client, 7, COLOR, "blue")
    assert made["image_sha256"] == labelled["image_sha256"]
    await client.delete(f"/v1/collections/default/answers/{made['id']}")
    again = await add(client, 7, COLOR, "blue")
    await client.delete(f"/v1/collections/default/examples/{labelled['id']}")
    await services.learning.close()  # what is dropped is dropped in the background
    image = await client.get(f"/v1/collections/default/answers/{again['id']}/image")
    assert image.status_code == 200


async def test_many_questions_and_classifications_at_once_are_all_right(client: httpx.AsyncClient) -> None:
    numbers = sorted(shapes.list_shapes())[:40]

    async def classified(number: int) -> bool:
        reply = await client.post(
            "/v1/classify",
            params={"labels": "cat,dog"},
            files={"image": shapes.data(number)},
            timeout=120,
        )
        return reply.status_code == 200

    async def answered(number: int) -> bool:
        reply = await vqa(client, number)
        return reply.status_code == 200 and reply.json()["answer"] == shapes.list_shapes()[number][0]

    outcomes = await asyncio.gather(*[f(n) for n in numbers for f in (answered, classified)])
    assert sum(outcomes) >= len(outcomes) - 2


async def test_the_documentation_tells_of_all_of_it(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for path in ("/v1/vqa", "/v1/caption", "/v1/collections/{collection}/answers"):
        post = document["paths"][path]["post"]
        assert {"422", "503"} <= post["responses"].keys()
        assert "multipart/form-data" in post["requestBody"]["content"]
    assert "text/event-stream" in document["paths"]["/v1/vqa"]["post"]["responses"]["200"]["content"]
