"""Vectors of images and texts in the shape that OpenAI's clients read."""

from __future__ import annotations

import asyncio
import base64
import itertools
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from tests.learning import picture
from tests.photos import encode_photo, photo

CAT = encode_photo(photo("chelsea"))
CAT64 = base64.b64encode(CAT).decode()


async def embed(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    reply = await client.post("/v1/embeddings", json=body)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


async def test_the_shape_is_openais(client: httpx.AsyncClient) -> None:
    answer = await embed(client, input="a photo of a cat", model="lite", user="somebody")
    assert set(answer) == {"object", "data", "model", "usage"}
    assert (answer["object"], answer["model"]) == ("list", "lite")
    (one,) = answer["data"]
    assert (one["object"], one["index"]) == ("embedding", 0)
    assert np.linalg.norm(one["embedding"]) == pytest.approx(1, abs=1e-4)
    assert answer["usage"] == {"prompt_tokens": 1, "total_tokens": 1}


async def test_inputs_keep_their_order(client: httpx.AsyncClient) -> None:
    mixed = await embed(client, input=["dog", {"image": CAT64}, "cat", {"image": f"data:;base64,{CAT64}"}])
    alone = [await embed(client, input=item) for item in ("dog", {"image": CAT64}, "cat")]
    rows = np.array([row["embedding"] for row in mixed["data"]])
    assert [row["index"] for row in mixed["data"]] == [0, 1, 2, 3]
    for row, single in zip(rows, [*alone, alone[1]], strict=True):
        np.testing.assert_allclose(row, single["data"][0]["embedding"], atol=1e-3)
    assert rows[1] @ rows[2] > rows[1] @ rows[0]


async def test_a_data_uri_among_the_texts_is_an_image(client: httpx.AsyncClient) -> None:
    uri = f"data:image/png;base64,{CAT64}"
    image = (await embed(client, input={"image": CAT64}))["data"][0]["embedding"]
    mixed = await embed(client, input=["a dog", uri, {"image": uri}])
    np.testing.assert_allclose(mixed["data"][1]["embedding"], image, atol=1e-3)
    np.testing.assert_allclose(mixed["data"][2]["embedding"], image, atol=1e-3)
    np.testing.assert_allclose((await embed(client, input=uri))["data"][0]["embedding"], image, atol=1e-3)
    form = await client.post("/v1/embeddings", files=[("input", (None, uri)), ("input", (None, "a dog"))])
    np.testing.assert_allclose(form.json()["data"][0]["embedding"], image, atol=1e-3)
    words = await embed(client, input=["data: a dog, a cat", "see https://example.org/cat.jpg there"])
    assert len(words["data"]) == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (
            {"json": {"input": ["a", "https://example.org/cat.jpg"]}},
            400,
        ),  # openai's clients tell this one apart
        ({"files": {"input": (None, "http://x.org/1")}}, 422),
    ],
)
async def test_an_address_is_no_text(client: httpx.AsyncClient, body: dict[str, Any], status: int) -> None:
    reply = await client.post("/v1/embeddings", **body)
    assert reply.status_code == status
    assert "are not fetched" in reply.json()["detail"]


async def test_base64_holds_the_same_numbers(client: httpx.AsyncClient) -> None:
    plain = await embed(client, input=["cat"])
    packed = await embed(client, input=["cat"], encoding_format="base64")
    numbers = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4")
    np.testing.assert_allclose(numbers, plain["data"][0]["embedding"], rtol=1e-6)


async def test_forms_and_raw_images_are_embedded_too(client: httpx.AsyncClient) -> None:
    alone = (await embed(client, input={"image": CAT64}))["data"][0]["embedding"]
    raw = await client.post("/v1/embeddings", content=CAT, headers={"Content-Type": "image/jpeg"})
    form = await client.post("/v1/embeddings", data={"input": ["cat"]}, files={"image": CAT})
    np.testing.assert_allclose(raw.json()["data"][0]["embedding"], alone, atol=1e-3)
    assert len(form.json()["data"]) == 2
    np.testing.assert_allclose(form.json()["data"][0]["embedding"], alone, atol=1e-3)


async def test_another_model_has_its_own_space(client: httpx.AsyncClient) -> None:
    answer = await embed(client, input="red circle", model="clip-tiny")
    assert answer["model"] == "clip-tiny"
    assert len(answer["data"][0]["embedding"]) != 1472


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_input"),
        ({"input": []}, 422, "invalid_input"),
        ({"input": ""}, 422, "invalid_input"),
        ({"input": ["a", " "]}, 422, "invalid_input"),
        ({"input": [1, 2, 3]}, 400, "bad_request"),
        ({"input": None}, 422, "invalid_input"),
        ({"input": "x" * 1001}, 422, "invalid_input"),
        ({"input": ["x"] * 257}, 422, "invalid_input"),
        ({"input": "a\0b"}, 422, "invalid_input"),
        ({"input": {"image": "not base64!"}}, 422, "invalid_input"),
        ({"input": {"image": "https://example.com/cat.jpg"}}, 422, "invalid_input"),
        ({"input": {"image": base64.b64encode(b"no image").decode()}}, 422, "invalid_image"),
        ({"input": [{"image": CAT64}] * 33}, 413, "too_many_parts"),
        ({"input": "a", "encoding_format": "hex"}, 400, "bad_request"),
        ({"input": "a", "dimensions": 3}, 400, "bad_request"),
        ({"input": "a", "model": "nothing"}, 404, "model_not_found"),
        ({"input": "a", "model": "/etc"}, 404, "model_not_found"),
    ],
)
async def test_what_cannot_be_embedded_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, code: str
) -> None:
    reply = await client.post("/v1/embeddings", json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text


async def test_a_body_that_is_no_json_is_refused(client: httpx.AsyncClient) -> None:
    for content in (b"{", b"\xff", b"[" * 10_000):
        reply = await client.post(
            "/v1/embeddings", content=content, headers={"Content-Type": "application/json"}
        )
        assert reply.status_code in (400, 422)


async def test_the_same_image_is_looked_up_the_second_time(client: httpx.AsyncClient, app: FastAPI) -> None:
    hits = app.state.services.metrics.cache.labels("hit")._value
    async with asyncio.timeout(60):  # where Redis does not answer at once, nothing is put or found
        for seed in itertools.count(55_555):
            image = base64.b64encode(picture(seed)).decode()
            first = await embed(client, input={"image": image})
            before = hits.get()
            second = await embed(client, input={"image": image})
            if hits.get() > before:
                break
    assert hits.get() == before + 1
    assert second["data"] == first["data"]


async def test_no_upload_stays_held(client: httpx.AsyncClient, app: FastAPI) -> None:
    await client.post("/v1/embeddings", json={"input": [{"image": CAT64}, {"image": "AAAA"}]})
    await embed(client, input=[{"image": CAT64}, "cat"])
    assert app.state.services.spool.held == 0
