"""Keys over HTTP: made, used, limited, expired, revoked, and kept apart by workspace."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

from app.access import keys
from app.access.admitting import admit
from app.access.policy import BindRefusedError
from app.access.service import REMEMBER_SECONDS, KeyRing
from app.embedded import Addresses
from app.main import create_app
from app.settings import Settings
from app.storage.database import Database
from tests.conftest import ClientMaker

if TYPE_CHECKING:
    from app.bootstrap import Services

# apps that are only asked who may come in need no model
QUICK: dict[str, Any] = {"encoder": "there-is-no-such-model", "allow_downloads": False, "log_level": "error"}


async def make_key(client: httpx.AsyncClient, **wanted: Any) -> dict[str, Any]:
    reply = await client.post("/v1/keys", json={"name": "a key", "scopes": ["recognise"], **wanted})
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def status(client: httpx.AsyncClient, key: str, path: str = "/v1/keys") -> int:
    return (await client.get(path, headers=bearer(key))).status_code


async def test_a_key_is_shown_once_and_listed_without_its_secrets(make_client: ClientMaker) -> None:
    admin = await make_client(scopes=["admin"])
    made = await make_key(admin, name="  shop camera ", expires_in_days=2)
    assert keys.is_well_formed(made["key"])
    assert made["key"].startswith(made["hint"])
    assert made["name"] == "shop camera"
    assert datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC) > timedelta(days=1)
    listed = await admin.get("/v1/keys")
    assert made["key"] not in listed.text
    assert "digest" not in listed.text
    row = next(row for row in listed.json()["data"] if row["id"] == made["id"])
    assert row == {name: value for name, value in made.items() if name != "key"}


async def test_the_database_never_sees_a_key(make_client: ClientMaker, services: Services) -> None:
    made = await make_key(await make_client(scopes=["admin"]))
    with psycopg.connect(services.addresses.database_url) as connection:
        rows = connection.execute("SELECT row_to_json(k)::text, digest FROM api_keys k").fetchall()
    assert all(made["key"] not in text for text, _ in rows)
    assert all(len(digest) == 32 for _, digest in rows)


async def test_every_caller_hears_what_they_may_do(
    make_client: ClientMaker, anonymous: httpx.AsyncClient
) -> None:
    made = await make_key(await make_client(scopes=["admin"]), scopes=["metrics"], workspace=None)
    found = (await anonymous.get("/v1/access", headers=bearer(made["key"]))).json()
    assert found == {
        "workspace": made["workspace"],
        "scopes": ["metrics"],
        "key_id": made["id"],
        "key_needed": False,
    }
    nobody = (await anonymous.get("/v1/access")).json()
    assert nobody["key_id"] is None
    assert set(nobody["scopes"]) == {"recognise", "learn", "train", "metrics", "admin"}
    unknown = await anonymous.get("/v1/access", headers=bearer(keys.new_key()))
    assert unknown.status_code == 401


async def test_scopes_decide(make_client: ClientMaker, anonymous: httpx.AsyncClient) -> None:
    admin = await make_client(scopes=["admin"])
    plain = await make_key(admin)
    refused = await anonymous.get("/v1/keys", headers=bearer(plain["key"]))
    assert refused.status_code == 403
    assert "'admin'" in refused.json()["detail"]
    assert await status(anonymous, (await make_key(admin, scopes=["admin"]))["key"]) == 200


async def test_an_unknown_key_is_refused_even_where_none_is_needed(anonymous: httpx.AsyncClient) -> None:
    key = keys.new_key()
    reply = await anonymous.get("/v1/keys", headers={"Authorization": f"Bearer {key}"})
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert key not in reply.text


@pytest.mark.parametrize(
    "sent",
    [
        "Bearer ",
        "Bearer EMPTY",
        "Bearer universal",
        "Bearer hf_abcdef",
        f"Bearer vis_{'a' * 49}",
        "Bearer ключ",
        "Basic YTpi",
    ],
)
async def test_credentials_for_other_services_are_ignored_where_no_key_is_needed(
    anonymous: httpx.AsyncClient, sent: str
) -> None:
    headers = {"Authorization": sent.encode()}
    assert (await anonymous.get("/v1/keys", headers=headers)).status_code == 200
    foreign = await anonymous.get("/v1/keys", headers={**headers, "Origin": "https://evil.example"})
    assert foreign.status_code == 403


async def test_without_a_key_only_this_machines_names_are_answered(anonymous: httpx.AsyncClient) -> None:
    assert (await anonymous.get("/v1/keys")).status_code == 200
    for path in ("/v1/keys", "/docs", "/openapi.json", "/metrics", "/healthz", "/"):
        rebound = await anonymous.get(path, headers={"Host": "evil.example"})
        assert (rebound.status_code, rebound.json()["error"]["code"]) == (403, "foreign_origin"), path
        other = await anonymous.get(path, headers={"Origin": "https://evil.example"})
        assert other.status_code == 403, path
        assert "access-control-allow-origin" not in other.headers
        for origin in ("null", "http://evil\\@127.0.0.1", "http://127.0.0.1@evil.example", "127.0.0.1"):
            assert (await anonymous.get(path, headers={"Origin": origin})).status_code == 403, (path, origin)
        for host in ("evil\\@127.0.0.1", "evil@127.0.0.1", "127.0.0.1:port"):
            assert (await anonymous.get(path, headers={"Host": host})).status_code == 400, (path, host)
    preflight = await anonymous.options("/v1/keys", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in preflight.headers


async def test_a_key_works_under_any_name(make_client: ClientMaker) -> None:
    admin = await make_client(scopes=["admin"])
    assert (await admin.get("/v1/keys", headers={"Host": "vision.example"})).status_code == 200


async def test_a_revoked_key_ends_here_at_once_and_elsewhere_when_it_is_looked_up_again(
    make_client: ClientMaker, anonymous: httpx.AsyncClient, services: Services
) -> None:
    admin = await make_client(scopes=["admin"])
    made = await make_key(admin, scopes=["admin"])
    database = Database(services.addresses.database_url)
    other_process = KeyRing(database, keys.load_secret(services.settings))
    try:
        assert await other_process.find(made["key"]) is not None
        assert await status(anonymous, made["key"]) == 200
        assert (await admin.delete(f"/v1/keys/{made['id']}")).status_code == 204
        assert REMEMBER_SECONDS <= 0.5  # a second is promised, half of it is for the request itself
        deadline = time.monotonic() + 60
        assert await status(anonymous, made["key"]) == 401
        while await other_process.find(made["key"]) is not None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    finally:
        await database.close()
    assert (await admin.delete(f"/v1/keys/{made['id']}")).status_code == 404
    assert made["id"] not in (await admin.get("/v1/keys")).text


async def test_an_expired_key_ends(make_client: ClientMaker, anonymous: httpx.AsyncClient) -> None:
    admin = await make_client(scopes=["admin"])
    end = datetime.now(UTC) + timedelta(seconds=5)
    made = await make_key(admin, scopes=["admin"], expires_at=end.isoformat())
    while (asked := datetime.now(UTC)) < end:
        told = await status(anonymous, made["key"])
        assert told == 200 or asked < end < datetime.now(UTC)  # the end may come while it is asked
        await asyncio.sleep(0.02)
    assert await status(anonymous, made["key"]) == 401, "what was remembered of it ends with it"


async def test_administrators_of_a_workspace_see_and_touch_only_their_own(
    make_client: ClientMaker, anonymous: httpx.AsyncClient
) -> None:
    mine, other = await make_client(scopes=["admin"]), await make_client(scopes=["admin"])
    made = await make_key(mine)
    assert made["id"] not in (await other.get("/v1/keys")).text
    assert (await other.delete(f"/v1/keys/{made['id']}")).status_code == 404
    elsewhere = await other.post("/v1/keys", json={"name": "x", "workspace": made["workspace"]})
    assert elsewhere.status_code == 403
    # the operator manages all of them, and makes workspaces by naming them
    assert made["id"] in (await anonymous.get("/v1/keys?limit=1000")).text
    fresh = await make_key(anonymous, workspace="brand-new")
    assert fresh["workspace"] == "brand-new"
    assert (await anonymous.delete(f"/v1/keys/{made['id']}")).status_code == 204


async def test_keys_come_in_pages(make_client: ClientMaker) -> None:
    admin = await make_client(scopes=["admin"])
    made = [(await make_key(admin, name=f"key {i}"))["id"] for i in range(5)]
    found: list[str] = []
    cursor = None
    while True:
        page = (
            await admin.get("/v1/keys", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        ).json()
        assert len(page["data"]) <= 2
        found += [row["id"] for row in page["data"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found[1:] == made  # the first is the administrator's own
    assert (await admin.get(f"/v1/keys?cursor={uuid.uuid4()}")).json()["data"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 201},
        {"name": "a\x00b"},
        {"name": "a", "scopes": []},
        {"name": "a", "scopes": ["root"]},
        {"name": "a", "workspace": "Not A Slug"},
        {"name": "a", "workspace": "x" * 64},
        {"name": "a", "expires_in_days": 0},
        {"name": "a", "expires_at": "2001-01-01T00:00:00Z"},
        {"name": "a", "expires_at": "2099-01-01T00:00:00"},
        {"name": "a", "expires_in_days": 1, "expires_at": "2099-01-01T00:00:00Z"},
        {"name": "\ud800"},
        {"name": "a", "extra": 1},
        [],
        "x",
    ],
)
async def test_nonsense_makes_no_key(anonymous: httpx.AsyncClient, body: Any) -> None:
    content = json.dumps(body)  # plain ASCII, so that a lone surrogate gets through to the service
    reply = await anonymous.post("/v1/keys", content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code in (400, 422), reply.text
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("key_id", ["x", "%00", "..", "1" * 500, str(uuid.UUID(int=7))])
async def test_revoking_nothing_is_not_found(anonymous: httpx.AsyncClient, key_id: str) -> None:
    assert (await anonymous.delete(f"/v1/keys/{key_id}")).status_code == 404


async def test_keys_are_never_logged(
    make_client: ClientMaker, caplog: pytest.LogCaptureFixture, anonymous: httpx.AsyncClient
) -> None:
    admin = await make_client(scopes=["admin"])
    app_log = logging.getLogger("app")
    before = app_log.level
    app_log.setLevel("DEBUG")
    try:
        made = await make_key(admin)
        await status(anonymous, made["key"])
        await status(anonymous, made["key"][:-1] + "x")
        await asyncio.sleep(0)  # a line is written after its answer
    finally:
        app_log.setLevel(before)
    assert "request" in caplog.text
    assert made["key"][8:20] not in caplog.text


# --- beyond loopback


async def test_beyond_loopback_it_does_not_start_without_keys(addresses: Addresses, tmp_path: Path) -> None:
    app = create_app(Settings(host="0.0.0.0", data_dir=tmp_path), addresses)
    with pytest.raises(BindRefusedError, match="VISION_BOOTSTRAP_KEY_FILE"):
        async with app.router.lifespan_context(app):
            pass


async def test_the_first_key_is_made_once_and_lets_its_reader_in(
    addresses: Addresses, tmp_path: Path
) -> None:
    file = tmp_path / "admin-key"
    settings = Settings(host="0.0.0.0", data_dir=tmp_path / "data", bootstrap_key_file=file)
    database = Database(addresses.database_url)
    ring = KeyRing(database, keys.load_secret(settings))
    try:
        made = await asyncio.gather(*(admit(settings, ring) for _ in range(4)))  # four replicas at once
        assert file in made
        assert file.stat().st_mode & 0o777 == 0o600
        text = file.read_text().strip()
        holder = await ring.find(text)
        assert holder is not None
        assert holder.scopes == {"admin"}
        assert await admit(settings, ring) is None
        assert len(await ring.page(workspace=None, limit=10, after=None)) == 1
        assert file.read_text().strip() == text
    finally:
        await database.close()


async def test_beyond_loopback_a_key_is_needed_and_any_host_is_fine(
    addresses: Addresses, tmp_path: Path
) -> None:
    file = tmp_path / "admin-key"
    settings = Settings(host="0.0.0.0", data_dir=tmp_path / "data", bootstrap_key_file=file, **QUICK)
    app = create_app(settings, addresses)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://vision.example") as client:
            assert (await client.get("/v1/keys")).status_code == 401
            assert (await client.get("/v1/keys", headers={"Host": "127.0.0.1"})).status_code == 401
            for foreign in ("EMPTY", "universal", "hf_xxx"):  # which mean nothing where no key is needed
                reply = await client.get("/v1/models", headers=bearer(foreign))
                assert (reply.status_code, reply.json()["error"]["type"]) == (401, "authentication_error")
            assert (await client.get("/healthz")).status_code == 200
            admin = file.read_text().strip()
            assert await status(client, admin) == 200
            assert (await client.get("/metrics")).status_code == 401
            assert (await client.get("/metrics", headers=bearer("lfv_" + "x" * 43))).status_code == 401
            assert (await client.get("/metrics", headers=bearer(admin))).status_code == 200
            wanted = [("metrics", "default", 200), ("recognise", "default", 403), ("admin", "shop", 403)]
            for scope, workspace, expected in wanted:
                body = {"name": "scraper", "scopes": [scope], "workspace": workspace}
                made = await client.post("/v1/keys", json=body, headers=bearer(admin))
                reply = await client.get("/metrics", headers=bearer(made.json()["key"]))
                assert reply.status_code == expected, (scope, workspace, reply.text[:200])


async def test_metrics_beyond_loopback_can_be_opened(addresses: Addresses, tmp_path: Path) -> None:
    file = tmp_path / "admin-key"
    settings = Settings(host="0.0.0.0", data_dir=tmp_path / "data", bootstrap_key_file=file, **QUICK)
    app = create_app(settings.replace(open_metrics=True), addresses)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://vision.example") as client:
            assert (await client.get("/metrics")).status_code == 200
            assert (await client.get("/v1/keys")).status_code == 401


async def test_no_auth_lets_everybody_in(addresses: Addresses, tmp_path: Path) -> None:
    settings = Settings(host="0.0.0.0", no_auth=True, data_dir=tmp_path, **QUICK)
    app = create_app(settings, addresses)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://vision.example") as client:
            assert (await client.get("/v1/keys")).status_code == 200
            evil = await client.get("/v1/keys", headers={"Origin": "https://evil.example"})
            assert evil.status_code == 403
