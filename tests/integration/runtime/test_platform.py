"""What every request gets: ids, logs, metrics, health, the docs page, and clean failures below us."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import httpx
import psycopg
import pytest
from psycopg import sql

from app import errors
from app.embedded import Addresses
from app.inference.sources import CHECKPOINTS
from app.main import create_app
from app.operations import routes as platform
from app.settings import Settings
from tests import shapes
from tests.conftest import fresh_stores

if TYPE_CHECKING:
    from fastapi import FastAPI

QUICK: dict[str, Any] = {"encoder": "there-is-no-such-model", "allow_downloads": False, "log_level": "error"}


@asynccontextmanager
async def small_app(
    addresses: Addresses, data_dir: Path, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A service without a model unless `settings` name one, and a client of it."""
    app = create_app(Settings(data_dir=data_dir, **{**QUICK, **settings}), addresses)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        yield client


# --- the documentation


class Assets(HTMLParser):
    """Every address that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "script" and "src" not in named:
            self.inline = True
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


async def test_the_docs_page_loads_everything_from_here(anonymous: httpx.AsyncClient) -> None:
    page = await anonymous.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "http" not in page.text.replace("https://", "http").split("<body>")[0]
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assets = Assets()
    assets.feed(page.text)
    assert not assets.inline
    kinds = {".js": "text/javascript", ".css": "text/css", ".png": "image/png"}
    assert len(assets.found) == 4
    for address in assets.found:
        assert "//" not in address
        reply = await anonymous.get(urljoin("/docs", address))
        assert reply.status_code == 200, address
        assert reply.headers["content-type"].startswith(kinds[Path(address).suffix])
        if address.endswith(".css"):
            assert not re.search(r"url\((?!\"?'?data:)|@import", reply.text)
        assert reply.headers["x-content-type-options"] == "nosniff"
    start = (await anonymous.get("/docs/start.js")).text
    assert "http" not in start
    assert (await anonymous.get("/docs/../openapi.json")).status_code == 200
    for outside in ("/docs/redoc.standalone.js", "/docs/..%2f..%2fcore.py", "/docs/%2e%2e%2fcore.py"):
        assert (await anonymous.get(outside)).status_code == 404


async def test_the_front_door(anonymous: httpx.AsyncClient) -> None:
    about = (await anonymous.get("/")).json()
    assert about["service"] == "llamafarm-vision"
    browser = await anonymous.get("/", headers={"Accept": "text/html,*/*"})
    assert browser.headers["content-type"].startswith("text/html")
    assert "script-src 'self'; style-src 'self';" in browser.headers["content-security-policy"]
    assert browser.headers["cache-control"] == "no-cache"
    known = {"Accept": "text/html", "If-None-Match": browser.headers["etag"]}
    assert (await anonymous.get("/", headers=known)).status_code == 304
    files = re.findall(r'(?:src|href)="([^"]+)"', browser.text)
    assert len(files) == 4
    for name in files:
        file = await anonymous.get(urljoin("/", name))
        assert file.status_code == 200, name
        assert "immutable" in file.headers["cache-control"]
    for outside in ("/page/index.htm", "/page/..%2froutes.py", "/page/routes.py", "/page/%2e%2e"):
        assert (await anonymous.get(outside)).status_code == 404
    for name in ("docs", "openapi", "health", "metrics"):
        assert (await anonymous.get(about[name])).status_code == 200


async def test_the_openapi_document_is_complete(anonymous: httpx.AsyncClient) -> None:
    document = (await anonymous.get("/openapi.json")).json()
    assert document["info"]["title"] == "llamafarm-vision"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", document["info"]["version"])
    assert document["components"]["securitySchemes"]
    assert "HTTPValidationError" not in json.dumps(document)
    known_tags = {tag["name"] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation.get("summary"), where
            assert operation.get("description"), where
            assert set(operation["tags"]) <= known_tags, where
            assert any(code.startswith("2") for code in operation["responses"]), where
            if path.startswith("/v1/"):
                assert {"401", "403", "422", "503"} <= set(operation["responses"]), where
                assert operation["security"], where
            for code, answer in operation["responses"].items():
                if code >= "400" and path.startswith(("/hf/", "/v2")):  # errors in the words of those clients
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema["properties"]["error"] == {"type": "string"}, where
                elif code >= "400":
                    content = answer["content"]["application/problem+json"]
                    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, where
                    assert all(
                        example["value"]["status"] == int(code) for example in content["examples"].values()
                    )
    _check_references(document)


def _check_references(document: dict[str, Any]) -> None:
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        place: Any = document
        for step in reference.split("/"):
            place = place[step]


# --- health


async def test_health_and_readiness(anonymous: httpx.AsyncClient) -> None:
    assert (await anonymous.get("/healthz")).json()["status"] == "ok"
    deadline = time.monotonic() + 60
    while (ready := await anonymous.get("/readyz")).status_code != 200:
        # each check has two seconds, which a busy machine may not keep
        assert time.monotonic() < deadline, ready.text
        await asyncio.sleep(0.1)
    assert ready.json()["checks"] == {"database": "ok", "redis": "ok", "model": "ok", "disk": "ok"}
    head = await anonymous.head("/healthz")
    assert head.status_code == 200


async def test_a_disk_that_hangs_does_not_hold_up_readiness_and_is_looked_at_once(
    anonymous: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_on, looks = threading.Event(), []

    def hang(_: Settings) -> str:
        looks.append(1)
        going_on.wait(60)
        return "ok"

    monkeypatch.setattr(platform, "_look_at_disks", hang)
    monkeypatch.setattr(platform, "_CHECK_SECONDS", 0.5)
    try:
        for _ in range(3):
            reply = await anonymous.get("/readyz")
            assert reply.status_code == 503
            assert reply.json()["checks"]["disk"] == "does not answer"
        assert len(looks) == 1
    finally:
        going_on.set()
    deadline = time.monotonic() + 30
    while (await anonymous.get("/readyz")).json()["checks"]["disk"] != "ok":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_a_missing_model_is_not_ready_and_says_so(addresses: Addresses, tmp_path: Path) -> None:
    async with small_app(addresses, tmp_path) as client:
        deadline = time.monotonic() + 60
        while "loading" in (reply := await client.get("/readyz")).text:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert reply.status_code == 503
        assert reply.json()["error"]["code"] == "not_ready"
        assert "model: could not be loaded" in reply.json()["detail"]
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("retry_s", [0, 0.1], ids=["a request loads it", "it is tried again"])
async def test_a_default_model_that_can_be_loaded_later_makes_the_service_ready(
    addresses: Addresses, tmp_path: Path, retry_s: float
) -> None:
    folder = tmp_path / "clip-later"
    own: dict[str, Any] = {"encoder": str(folder), "encoder_retry_s": retry_s, "optimisation": "none"}
    async with small_app(addresses, tmp_path / "data", **own) as client:

        async def ready() -> str:
            return str((await client.get("/readyz")).json()["checks"]["model"])

        await _until(ready, "could not be loaded")
        shutil.copytree(CHECKPOINTS / "clip-tiny", folder)
        if not retry_s:
            await asyncio.sleep(1)
            assert await ready() == "could not be loaded"
            data = {"labels": "red,blue"}
            reply = await client.post("/v1/classify", data=data, files={"image": shapes.data(0)})
            assert reply.status_code == 200, reply.text
        await _until(ready, "ok")


async def _until(state: Callable[[], Awaitable[str]], wanted: str) -> None:
    deadline = time.monotonic() + 60
    while (found := await state()) != wanted:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


async def test_a_database_that_goes_away_is_503_and_comes_back_by_itself(
    servers: Addresses, migrated: str, tmp_path: Path
) -> None:
    with fresh_stores(servers) as stores:
        name = urlsplit(stores.database_url).path.strip("/")
        with psycopg.connect(servers.database_url, autocommit=True) as other:
            async with small_app(stores, tmp_path) as client:
                assert (await client.get("/v1/keys")).status_code == 200
                _allow(other, name, False)
                for path, code in [("/v1/keys", "store_unavailable"), ("/readyz", "not_ready")]:
                    reply = await client.get(path)
                    assert (reply.status_code, reply.json()["error"]["code"]) == (503, code)
                    assert reply.headers["retry-after"]
                    assert "psycopg" not in reply.text
                assert (await client.get("/healthz")).status_code == 200
                _allow(other, name, True)
                assert (await client.get("/v1/keys")).status_code == 200


def _allow(connection: psycopg.Connection[Any], name: str, allowed: bool) -> None:
    """Cut every connection of a database and refuse new ones, or let them in again."""
    state = sql.Literal(allowed)
    connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), state))
    if not allowed:
        connection.execute(
            sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(
                sql.Literal(name)
            )
        )


async def test_without_redis_requests_are_answered(addresses: Addresses, tmp_path: Path) -> None:
    nowhere = Addresses(addresses.database_url, f"unix://{tmp_path}/nothing.sock?db=0")
    async with small_app(nowhere, tmp_path / "data") as client:
        assert (await client.get("/v1/keys")).status_code == 200
        deadline = time.monotonic() + 60
        while "database" in (ready := await client.get("/readyz")).json().get("detail", ""):
            assert time.monotonic() < deadline  # of a busy machine it may not answer in time now and then
        assert ready.status_code == 503
        assert "redis: does not answer" in ready.json()["detail"]


# --- ids, logs and metrics


async def test_answers_are_hardened(anonymous: httpx.AsyncClient) -> None:
    for path in ("/v1/keys", "/nowhere", "/docs", "/metrics"):
        headers = (await anonymous.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"


async def test_an_unforeseen_failure_is_a_500_that_tells_its_id_and_nothing_else(
    app: FastAPI,
    anonymous: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = app.state.services.keys
    monkeypatch.setattr(type(keys), "page", lambda *a, **k: 1 / 0)
    reply = await anonymous.get("/v1/keys", headers={"X-Request-ID": "find-me"})
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == errors.VisionError.code
    assert "find-me" in reply.json()["detail"]
    assert "division" not in reply.text
    assert "ZeroDivisionError" in caplog.text


async def test_a_slash_too_many_is_not_a_redirect(anonymous: httpx.AsyncClient) -> None:
    assert (await anonymous.get("/v1/keys/", headers={"Host": "127.0.0.1"})).status_code in (404, 405)
