"""Every failure as one problem document, with nothing of the inside in it."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal

import httpx
import psycopg
import pytest
import redis.exceptions
import sqlalchemy.exc
from fastapi import FastAPI, Query
from pydantic import BaseModel, field_validator

from app import errors, problems
from app.observability.metrics import Metrics
from app.observability.middleware import ObservabilityMiddleware

NAMED = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.VisionError) and kind.__module__ == errors.__name__
]
SECRET = "postgresql://someone:hunter2@db/x"


class Thing(BaseModel):
    count: int
    kind: Literal["a", "b"]

    @field_validator("count")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value


def make_app() -> FastAPI:
    app = FastAPI()
    problems.install(app)
    app.add_middleware(ObservabilityMiddleware, metrics=Metrics())
    failures: dict[str, Exception] = {kind.__name__: kind() for kind in NAMED} | {
        "surprise": RuntimeError(SECRET),
        "database": sqlalchemy.exc.OperationalError("SELECT 1", {}, psycopg.OperationalError(SECRET)),
        "pool": sqlalchemy.exc.TimeoutError("QueuePool limit"),
        "driver": psycopg.OperationalError(SECRET),
        "redis": redis.exceptions.ConnectionError(SECRET),
        "data": sqlalchemy.exc.DataError("INSERT", {}, psycopg.DataError(SECRET)),
        "integrity": sqlalchemy.exc.IntegrityError("INSERT", {}, psycopg.IntegrityError(SECRET)),
        "group": ExceptionGroup("two", [ValueError(SECRET), errors.InvalidImageError()]),
        "memory": MemoryError(SECRET),
        "programming": sqlalchemy.exc.ProgrammingError("SELEKT", {}, psycopg.ProgrammingError(SECRET)),
    }

    @app.get("/fail/{name}")
    async def fail(name: str) -> None:
        raise failures[name].with_traceback(None)

    @app.post("/thing")
    async def thing(thing: Thing, limit: Annotated[int, Query(ge=1)] = 1) -> dict[str, Any]:
        return {}

    return app


@pytest.fixture(scope="module")
def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(make_app()), base_url="http://127.0.0.1")


@pytest.mark.parametrize("kind", NAMED, ids=lambda kind: kind.__name__)
async def test_every_named_error_keeps_its_promise(
    client: httpx.AsyncClient, kind: type[errors.VisionError]
) -> None:
    reply = await client.get(f"/fail/{kind.__name__}")
    problem = reply.json()
    assert reply.status_code == problem["status"] == kind.status
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["type"].endswith(f":{kind.code}")
    assert problem["title"] == kind.title
    assert problem["detail"] == problem["error"]["message"] == kind.__doc__.strip()
    assert problem["error"].keys() == {"message", "type", "code"}
    assert problem.keys() == {"type", "title", "status", "detail", "instance", "error"}
    assert reply.headers["x-request-id"] in problem["instance"]
    assert ("retry-after" in reply.headers) == issubclass(kind, errors.OverloadedError)
    assert ("www-authenticate" in reply.headers) == (kind.status == 401)


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in NAMED]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("surprise", 500, "internal_error"),
        ("programming", 500, "internal_error"),
        ("database", 503, "store_unavailable"),
        ("pool", 503, "store_unavailable"),
        ("group", 422, "invalid_image"),
        ("memory", 503, "overloaded"),
        ("driver", 503, "store_unavailable"),
        ("redis", 503, "store_unavailable"),
        ("data", 422, "invalid_input"),
        ("integrity", 409, "conflict"),
    ],
)
async def test_failures_below_us_say_nothing_of_the_inside(
    client: httpx.AsyncClient, name: str, status: int, code: str
) -> None:
    reply = await client.get(f"/fail/{name}", headers={"X-Request-ID": "look-me-up"})
    assert reply.status_code == status
    assert reply.json()["error"]["code"] == code
    assert "hunter2" not in reply.text
    assert "SEL" not in reply.text
    assert "Traceback" not in reply.text
    assert "look-me-up" in reply.json()["instance"]
    if status == 500:
        assert "look-me-up" in reply.json()["detail"]


async def test_invalid_fields_are_named_but_not_repeated(client: httpx.AsyncClient) -> None:
    reply = await client.post("/thing?limit=0", json={"count": 3, "kind": "<script>hunter2"})
    detail = reply.json()["detail"]
    assert reply.status_code == 422
    assert "limit: " in detail
    assert "count: must be even." in detail
    assert "kind: " in detail
    assert "hunter2" not in reply.text


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"", 422), (b"[]", 422), (b"\xff\xfe", 400), (b"nan", 400), (b"[" * 100_000, 400)],
)
async def test_broken_json_is_the_clients_fault(client: httpx.AsyncClient, body: bytes, status: int) -> None:
    reply = await client.post("/thing", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert len(reply.content) < 2000


async def test_unknown_addresses_and_methods(client: httpx.AsyncClient) -> None:
    missing = await client.get("/nowhere")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    wrong = await client.delete("/thing")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("sent", "kept"), [("abc-123", True), ("a" * 64, True), ("a" * 65, False), ("a b", False), ("", False)]
)
async def test_a_sane_request_id_is_kept(client: httpx.AsyncClient, sent: str, kept: bool) -> None:
    reply = await client.get("/nowhere", headers={"X-Request-ID": sent})
    got = reply.headers["x-request-id"]
    assert (got == sent) == kept
    assert got


def test_openapi_responses_show_every_code_of_a_status() -> None:
    made = problems.responses(errors.NotFoundError, errors.CollectionNotFoundError, errors.OverloadedError)
    assert list(made) == [404, 503]
    examples = made[404]["content"][problems.MEDIA_TYPE]["examples"]
    assert set(examples) == {"not_found", "collection_not_found"}
    assert examples["collection_not_found"]["value"]["detail"] == "There is no collection of that name."
