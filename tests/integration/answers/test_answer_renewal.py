"""What was taught outlives a change of encoder: it is embedded again, and never silently left out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from sqlalchemy import text

from app.embedded import Addresses
from app.main import create_app
from app.settings import Settings
from app.storage.blobs import BlobStore
from app.storage.database import sync_engine
from tests import shapes
from tests.made_engines import share_engines

PATH = "/v1/collections/default/answers"
COLOR = "what color is the shape?"


@asynccontextmanager
async def running(encoder: str, data_dir: Path, addresses: Addresses) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(data_dir=share_engines(data_dir), encoder=encoder, device="cpu", log_level="error")
    app = create_app(settings, addresses)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client,
    ):
        yield client


async def ask(client: httpx.AsyncClient, number: int) -> httpx.Response:
    form = {"question": COLOR, "collection": "default", "k": "8"}
    return await client.post("/v1/vqa", data=form, files={"image": shapes.data(number)})


async def ask_when_renewed(client: httpx.AsyncClient, number: int) -> list[str]:
    """The answers shown, once the examples are embedded again."""
    end = time.monotonic() + 120
    while (reply := await ask(client, number)).status_code == 503:
        assert reply.json()["error"]["code"] == "not_ready"
        assert int(reply.headers["retry-after"]) >= 1
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    return [example["answer"] for example in reply.json()["examples_used"]]


async def test_another_default_encoder_finds_what_was_taught_before(
    addresses: Addresses, tmp_path: Path
) -> None:
    async with running("lite", tmp_path, addresses) as client:
        taught = []
        for number in range(6):
            form = {"question": COLOR, "answer": f"answer {number}"}
            reply = await client.post(PATH, data=form, files={"image": shapes.data(number)})
            taught.append(reply.json())
        assert (await ask_when_renewed(client, 2))[0] == "answer 2"
    # one image is lost meanwhile, which must not keep the others back
    blobs = BlobStore.from_settings(Settings(data_dir=tmp_path))
    await blobs.delete(taught[5]["image_sha256"])
    async with running("clip-tiny", tmp_path, addresses) as client:
        assert (await ask(client, 2)).status_code == 503
        shown = await ask_when_renewed(client, 2)
        assert shown[0] == "answer 2"
        assert sorted(shown) == [f"answer {number}" for number in range(5)]
        assert (await client.get("/v1/collections/default")).json()["encoder"] == "clip-tiny"
        form = {"question": COLOR, "answer": "newer"}
        assert (await client.post(PATH, data=form, files={"image": shapes.data(2)})).json()[
            "created"
        ] is False
        assert (await ask_when_renewed(client, 2))[0] == "newer"


async def test_examples_with_vectors_of_other_weights_are_embedded_again(
    addresses: Addresses, tmp_path: Path
) -> None:
    async with running("lite", tmp_path, addresses) as client:
        await client.post("/v1/collections", json={"name": "shapes"})
        for number in range(2):
            form, image = {"label": f"shape {number}"}, {"image": shapes.data(number)}
            reply = await client.post("/v1/collections/shapes/examples", data=form, files=image)
            assert reply.status_code == 201
        before = (await client.get("/v1/collections/shapes")).json()["version"]
    with sync_engine(addresses.database_url).begin() as connection:
        connection.execute(text("UPDATE example_vectors SET encoder = 'lite@0123456789abcdef'"))
    async with running("lite", tmp_path, addresses) as client:

        async def classify() -> httpx.Response:
            form = {"collection": "shapes", "threshold": "0"}
            return await client.post("/v1/classify", data=form, files={"image": shapes.data(1)})

        assert (await classify()).json()["error"]["code"] == "not_ready"
        end = time.monotonic() + 120
        while (reply := await classify()).status_code == 503:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        assert reply.json()["label"] == "shape 1"
        assert (await client.get("/v1/collections/shapes")).json()["version"] > before
