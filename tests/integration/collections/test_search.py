"""Nearest examples by image and by text: the right ones, through the index where there are many."""

from __future__ import annotations

import base64
import uuid
from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from sqlalchemy import text

from app.collections import repository, vectors
from app.collections.nearest import EXACT_UP_TO, build_exact_query, build_indexed_query, nearest
from app.storage.database import Database
from tests.learning import picture, teach
from tests.photos import TAUGHT, encode_photo, photo

KEY = "test@0123456789abcdef"
DIM = 16


async def test_the_example_itself_is_nearest(client: httpx.AsyncClient) -> None:
    ids = {}
    for label, name in TAUGHT.items():
        (one,) = await teach(client, label, encode_photo(photo(name)))
        ids[label] = one["id"]
    reply = await client.post("/v1/search", files={"image": encode_photo(photo("coffee"))})
    found = reply.json()
    assert (found["model"], found["collection"], len(found["data"])) == ("lite", "default", 4)
    assert found["data"][0]["id"] == ids["cup of coffee"]
    assert found["data"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    uri = f"data:image/jpeg;base64,{base64.b64encode(encode_photo(photo('coffee'))).decode()}"
    for asked in ({"json": {"image": uri}}, {"json": {"text": uri}}, {"files": {"text": (None, uri)}}):
        again = (await client.post("/v1/search", **asked)).json()
        assert again["data"][0]["id"] == ids["cup of coffee"]
        assert again["data"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    address = await client.post("/v1/search", json={"text": "https://example.org/cat.jpg"})
    assert address.status_code == 422
    cosines = [hit["similarity"] for hit in found["data"]]
    assert cosines == sorted(cosines, reverse=True)
    assert (await client.get(found["data"][0]["image"])).headers["content-type"] == "image/jpeg"


async def test_a_text_finds_what_it_names(client: httpx.AsyncClient) -> None:
    for label, name in [("one", "chelsea"), ("two", "coffee")]:
        await teach(client, label, encode_photo(photo(name)))
    for words, label in [("a photo of a cat", "one"), ("a cup of coffee", "two")]:
        form = await client.post("/v1/search", files={"text": (None, words), "top_k": (None, "1")})
        json = await client.post("/v1/search", json={"text": words, "top_k": 1})
        assert [hit["label"] for hit in form.json()["data"]] == [label]
        assert json.json() == form.json()


async def test_an_empty_collection_has_nothing_near(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/search", files={"image": picture(1)})
    assert reply.json()["data"] == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"text": "x", "image": base64.b64encode(picture(1)).decode()},
        {"text": "x", "top_k": 0},
        {"text": "x", "top_k": 1001},
        {"text": "x" * 1001},
        {"text": ["a", "b"]},
        {"text": "x", "txet": "y"},
        {"image": [base64.b64encode(picture(1)).decode()] * 2},
    ],
)
async def test_one_image_or_one_text_is_looked_for(
    client: httpx.AsyncClient, fields: dict[str, object]
) -> None:
    reply = await client.post("/v1/search", json=fields)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_input")


async def test_an_encoder_in_use_has_its_index(client: httpx.AsyncClient, app: object) -> None:
    await teach(client, "a", picture(1))
    services = app.state.services  # type: ignore[attr-defined]
    async with services.registry.encoder() as live, services.database.session() as session:
        definition = await session.scalar(
            text("SELECT indexdef FROM pg_indexes WHERE indexname = :name"),
            {"name": vectors.index_name(live.key)},
        )
    assert "hnsw" in definition
    assert "halfvec_cosine_ops" in definition
    assert live.key in definition


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str) -> AsyncIterator[Database]:
    made = Database(database_url)
    yield made
    await made.close()


async def fill(database: Database, name: str, matrix: NDArray[np.float32]) -> uuid.UUID:
    """A collection of one label whose examples have these vectors; version 1."""
    async with database.session() as session:
        await repository.create_collection(session, "default", name, "test")
        row = await repository.find_collection(session, "default", name, lock=True)
        row.version = 1
        await session.execute(
            text(
                "WITH made AS (INSERT INTO labels (collection_id, name, description)"
                " VALUES (:c, 'a', '') RETURNING id), rows AS ("
                " INSERT INTO examples (id, collection_id, label_id, image_sha256, version)"
                " SELECT gen_random_uuid(), :c, made.id, n::text, 1 FROM made, generate_series(1, :count) n"
                " RETURNING id, image_sha256)"
                " INSERT INTO example_vectors (example_id, encoder, collection_id, vector)"
                " SELECT id, :key, :c, (CAST(:vectors AS text[]))[image_sha256::int]::vector FROM rows"
            ),
            {"c": row.id, "count": len(matrix), "key": KEY, "vectors": [vectors.to_sql(v) for v in matrix]},
        )
    return row.id


def unit_rows(count: int, seed: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


async def test_many_examples_are_found_through_the_index(database: Database) -> None:
    async with database.session() as session:
        await vectors.ensure_index(session, KEY, DIM)
        await vectors.ensure_index(session, KEY, DIM)
    matrix = unit_rows(EXACT_UP_TO + 500, 1)
    many = await fill(database, "many", matrix)
    few = await fill(database, "few", unit_rows(20, 2))
    query = unit_rows(1, 3)[0]
    best = np.sort(matrix @ query)[::-1][:10]
    wanted = {"collection": many, "limit": 10} | dict.fromkeys(["near", "exact"], vectors.to_sql(query))
    async with database.session() as session:
        await session.execute(text("ANALYZE example_vectors"))
        plans = {}
        for name, statement in [("index", build_indexed_query(KEY, DIM)), ("exact", build_exact_query(KEY))]:
            rows = await session.scalars(text(f"EXPLAIN {statement}"), wanted)
            plans[name] = "\n".join(rows)
        assert f"Index Scan using {vectors.index_name(KEY)}" in plans["index"], plans["index"]
        assert vectors.index_name(KEY) not in plans["exact"]
    async with database.session() as session:
        found = await nearest(session, many, KEY, query, 10)
        cosines = [cosine for _, _, cosine in found]
        assert cosines == sorted(cosines, reverse=True)
        assert sum(bool(np.isclose(cosines, cosine, atol=1e-6).any()) for cosine in best) >= 9
        # a small collection in the same index still gives all it has
        assert len(await nearest(session, few, KEY, query, 50)) == 20


async def test_a_scan_that_gives_up_is_followed_by_an_exact_one(database: Database) -> None:
    """Two large collections far apart: the index meets the wrong one first, by the thousands."""
    async with database.session() as session:
        await vectors.ensure_index(session, KEY, DIM)
    pole = np.zeros(DIM, np.float32)
    pole[0] = 3
    near, far = unit_rows(EXACT_UP_TO + 100, 4) + pole, unit_rows(EXACT_UP_TO + 100, 5) - pole
    await fill(database, "near", near)
    there = await fill(database, "far", far)
    async with database.session() as session:
        await session.execute(text("SET LOCAL hnsw.max_scan_tuples = 1"))
        found = await nearest(session, there, KEY, pole / 3, 25)
    assert len(found) == 25


def test_only_an_encoders_key_becomes_part_of_a_statement() -> None:
    for key in ["", "lite", "x' OR ''='", "lite@0123", "Lite@0123456789abcdef", KEY + "'"]:
        with pytest.raises(ValueError, match="not an encoder's key"):
            build_exact_query(key)
