"""Every failure as one problem document, with nothing of the inside in it."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import Annotated, Any, Literal

import httpx
import psycopg
import pytest
import redis.exceptions
import sqlalchemy.exc
import structlog.testing
from fastapi import FastAPI, Query
from pydantic import BaseModel, field_validator

from app import errors
from app.collections.errors import CollectionNotFoundError
from app.http import problems
from app.media.errors import InvalidImageError
from app.observability.metrics import Metrics
from app.observability.middleware import ObservabilityMiddleware

NAMED = list(errors.list_errors().values())
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


def _from_server(error: psycopg.Error) -> sqlalchemy.exc.OperationalError:
    return sqlalchemy.exc.OperationalError("INSERT", {}, error)


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
        "group": ExceptionGroup("two", [ValueError(SECRET), InvalidImageError()]),
        "memory": MemoryError(SECRET),
        "disk": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), SECRET),
        "quota": OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        "files": OSError(errno.EMFILE, os.strerror(errno.EMFILE), SECRET),
        "system files": OSError(errno.ENFILE, os.strerror(errno.ENFILE)),
        "read-only": OSError(errno.EROFS, os.strerror(errno.EROFS), SECRET),
        "broken disk": OSError(errno.EIO, os.strerror(errno.EIO), SECRET),
        "forbidden": PermissionError(errno.EACCES, os.strerror(errno.EACCES), SECRET),
        "missing": FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), SECRET),
        "database disk": _from_server(psycopg.errors.DiskFull("could not extend file")),
        "database log": _from_server(psycopg.OperationalError("No space left on device")),
        "database full": _from_server(psycopg.errors.TooManyConnections("sorry")),
        "database busy": _from_server(psycopg.OperationalError("FATAL:  sorry, too many clients already")),
        "database sockets": _from_server(
            psycopg.OperationalError("could not create socket: Too many open files")
        ),
        "database read-only": sqlalchemy.exc.InternalError(
            "INSERT", {}, psycopg.errors.ReadOnlySqlTransaction("read-only")
        ),
        "driver disk": psycopg.errors.DiskFull("could not extend file"),
        "redis memory": redis.exceptions.OutOfMemoryError(
            "command not allowed when used memory > 'maxmemory'"
        ),
        "redis read-only": redis.exceptions.ReadOnlyError("You can't write against a read only replica."),
        "redis disk": redis.exceptions.ResponseError("MISCONF Valkey is configured to save"),
        "redis type": redis.exceptions.ResponseError("WRONGTYPE Operation against a key"),
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
    assert problem["detail"] == problem["error"]["message"] == " ".join(kind.__doc__.split())
    assert problem["error"].keys() == {"message", "type", "param", "code"}
    assert problem.keys() == {"type", "title", "status", "detail", "instance", "error"}
    assert reply.headers["x-request-id"] in problem["instance"]
    assert ("retry-after" in reply.headers) == (
        issubclass(kind, errors.OverloadedError) or kind.status == 429
    )
    assert ("www-authenticate" in reply.headers) == (kind.status == 401)


def test_every_error_of_a_room_is_listed() -> None:
    """Also one that somebody writes beside the room's `errors` module: its class is found and has no place."""
    importlib.import_module("app.main")

    def below(kind: type[errors.VisionError]) -> set[type[errors.VisionError]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    # not those that a message from an engine made at run time: no module has them
    ours = {
        kind
        for kind in below(errors.VisionError)
        if kind.__module__.startswith("app.")
        and getattr(sys.modules[kind.__module__], kind.__name__, None) is kind
    }
    assert ours == set(NAMED)
    assert len(ours) > 45


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
        ("missing", 500, "internal_error"),
        ("redis type", 500, "internal_error"),
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


@pytest.mark.parametrize(
    ("name", "status", "code", "words"),
    [
        ("disk", 507, "insufficient_storage", "disk that keeps data is full"),
        ("quota", 507, "insufficient_storage", "is full"),
        ("files", 503, "too_many_open_files", "ulimit -n"),
        ("system files", 503, "too_many_open_files", "The machine has too many open files"),
        ("read-only", 503, "store_unavailable", "can only be read"),
        ("broken disk", 503, "store_unavailable", "input/output errors"),
        ("forbidden", 503, "store_unavailable", "may not read or write"),
        ("database disk", 507, "insufficient_storage", "database's disk is full"),
        ("database log", 507, "insufficient_storage", "database's disk is full"),
        ("driver disk", 507, "insufficient_storage", "database's disk is full"),
        ("database full", 503, "store_unavailable", "no more connections"),
        ("database busy", 503, "store_unavailable", "no more connections"),
        ("database sockets", 503, "too_many_open_files", "open files"),
        ("database read-only", 503, "store_unavailable", "database can only be read"),
        ("redis memory", 503, "store_unavailable", "Redis is out of memory"),
        ("redis read-only", 503, "store_unavailable", "Redis can only be read"),
        ("redis disk", 503, "store_unavailable", "Redis cannot write to its disk"),
    ],
)
async def test_failures_of_storage_name_their_cause(
    client: httpx.AsyncClient, name: str, status: int, code: str, words: str
) -> None:
    reply = await client.get(f"/fail/{name}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert words in reply.json()["detail"]
    assert "hunter2" not in reply.text
    assert int(reply.headers["retry-after"]) >= 1


LOG_WORDS = {
    word: f"about {word}"
    for word in ("reason", "code", "event", "level", "timestamp", "logger", "request_id", "exc_info", "self")
}


@pytest.mark.parametrize("kind", NAMED, ids=lambda kind: kind.__name__)
async def test_what_an_error_notes_for_the_log_never_changes_its_answer(
    kind: type[errors.VisionError],
) -> None:
    """Also where the notes are named as the log names its own."""
    app = FastAPI()
    problems.install(app)
    app.add_middleware(ObservabilityMiddleware, metrics=Metrics())

    @app.get("/")
    async def fail() -> None:
        error = kind("It failed.")
        error.context = {**LOG_WORDS, "tensor": "head.weight"}
        raise error

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        with structlog.testing.capture_logs() as lines:
            reply = await client.get("/")
    assert (reply.status_code, reply.json()["detail"]) == (kind.status, "It failed.")
    assert "about" not in reply.text
    (refused,) = [line for line in lines if line["event"] == "refused"] or [None]
    assert (refused is not None) == (kind.status >= 500)
    if refused is not None:
        assert refused["code"] == kind.code
        assert refused["reason"] == "about reason"
        assert refused["tensor"] == "head.weight"
        assert refused["log_level"] == "warning"


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
    made = problems.responses(errors.NotFoundError, CollectionNotFoundError, errors.OverloadedError)
    assert list(made) == [404, 503]
    examples = made[404]["content"][problems.MEDIA_TYPE]["examples"]
    assert set(examples) == {"not_found", "collection_not_found"}
    assert examples["collection_not_found"]["value"]["detail"] == "There is no collection of that name."
