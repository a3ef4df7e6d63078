"""Each protocol bounds what it is sent, and refuses the rest in one short sentence."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.compat.bodies import TEXT, chat, image
from tests.compat.conftest import Pictures


@pytest.mark.parametrize(
    ("more", "status", "code", "param"),
    [
        ({"stop": ["word"] * 17}, 400, "bad_request", "stop"),
        ({"stop": "w" * 101}, 400, "bad_request", "stop"),
        ({"messages": [{"role": "user", "content": "x" * 32_001}]}, 422, "question_too_long", "messages"),
    ],
)
async def test_a_chat_has_bounds(
    anonymous: httpx.AsyncClient,
    pictures: Pictures,
    more: dict[str, Any],
    status: int,
    code: str,
    param: str,
) -> None:
    body = {**chat(TEXT, image(pictures.uri("shape.png"))), **more}
    reply = await anonymous.post("/v1/chat/completions", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (status, code, param)


async def test_a_long_chat_is_answered_by_its_latest_messages(
    anonymous: httpx.AsyncClient, pictures: Pictures
) -> None:
    body = chat(TEXT, image(pictures.uri("shape.png")))
    earlier = [{"role": role, "content": "so " * 9} for role in ("user", "assistant")]
    body["messages"] = earlier * 5_000 + body["messages"]
    reply = await anonymous.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(("question", "status"), [(7, 400), (None, 400), ("x" * 2_001, 422)])
async def test_a_question_to_hugging_face_has_bounds(
    anonymous: httpx.AsyncClient, pictures: Pictures, question: Any, status: int
) -> None:
    written = pictures.uri("shape.png").partition(",")[2]
    body = {"inputs": {"image": written, "question": question}}
    reply = await anonymous.post("/hf/visual-question-answering", json=body)
    assert reply.status_code == status, reply.text
    assert "question" in reply.json()["error"]


def tensor(shape: list[int], data: list[str], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": shape, "data": data}], **more}


@pytest.mark.parametrize(
    "shape", [[10**3_999] * 400, [1, 1, 1], [0], [-1], [2], []], ids=lambda shape: f"{len(shape)} numbers"
)
async def test_a_shape_that_is_not_of_images_is_refused_at_once(
    anonymous: httpx.AsyncClient, pictures: Pictures, shape: list[int]
) -> None:
    written = pictures.uri("shape.png").partition(",")[2]
    reply = await anonymous.post("/v2/models/lite/infer", json=tensor(shape, [written]))
    assert reply.status_code == 400, reply.text[:200]
    assert "inputs" in reply.json()["error"]
    assert len(reply.text) < 500


async def test_an_output_is_given_once_however_often_it_is_named(
    anonymous: httpx.AsyncClient, pictures: Pictures
) -> None:
    written = pictures.uri("shape.png").partition(",")[2]
    body = tensor([1], [written], outputs=[{"name": "embedding"}] * 1_000)
    reply = await anonymous.post("/v2/models/lite/infer", json=body)
    assert [output["name"] for output in reply.json()["outputs"]] == ["embedding"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": [1] * 200_000}),
        ("/v1/chat/completions", {"messages": [5] * 200_000}),
        ("/v2/models/lite/infer", {"inputs": [5] * 200_000}),
        ("/hf/feature-extraction", {"inputs": [5] * 200_000}),
        ("/v1/vision/embed", {"texts": [5] * 200_000}),
    ],
    ids=["embeddings", "chat", "inference protocol", "hugging face", "llamafarm"],
)
async def test_a_long_list_of_wrong_things_is_one_error(
    anonymous: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    reply = await anonymous.post(path, json=body)
    assert reply.status_code == 400, reply.text[:200]
    assert len(reply.text) < 2_000
