"""What was taught and trained when `lite` had other vectors: examples are embedded again, models keep the old ones."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text

from app.embedded import Addresses
from app.families.encoders import load_encoder, resolve
from app.inference.sources import EncoderConfig
from app.main import create_app
from app.models.classifiers import ClassifierNote, Weights, save_classifier
from app.settings import Settings
from app.storage.database import sync_engine
from tests import shapes
from tests.integration.models.test_trained_models import zip_files
from tests.made_engines import link_engines, share_engines

OLD = "ef03e7ba4496ac3b"
"""What `lite` was when its vectors had 1,280 numbers."""
LABELS = ("first", "second")


@asynccontextmanager
async def running(data_dir: Path, addresses: Addresses) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(data_dir=share_engines(data_dir), encoder="lite", device="cpu", log_level="info")
    app = create_app(settings, addresses)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client,
    ):
        yield client


def old_vectors(folder: Path) -> np.ndarray:
    """float32[2, 1280] of the images 0 and 1."""
    encoder = load_encoder(
        resolve("lite-1280"),
        EncoderConfig("cpu", "onnx", False, 0.99, 0, link_engines(folder), allow_downloads=False),
    )
    assert (encoder.fingerprint, encoder.dim) == (OLD, 1280)
    images = [Image.open(io.BytesIO(shapes.data(number))).convert("RGB") for number in range(2)]
    return encoder.encode_images(np.stack([encoder.preprocess(image) for image in images]))


@pytest.mark.slow
async def test_a_collection_taught_with_the_old_vectors_is_embedded_again(
    addresses: Addresses, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = old_vectors(tmp_path / "old")
    async with running(tmp_path, addresses) as client:
        await client.post("/v1/collections", json={"name": "kept"})
        for number, label in enumerate(LABELS):
            image = {"image": shapes.data(number)}
            reply = await client.post("/v1/collections/kept/examples", data={"label": label}, files=image)
            assert reply.status_code == 201
    with sync_engine(addresses.database_url).begin() as connection:
        for label, vector in zip(LABELS, vectors, strict=True):
            connection.execute(
                text(
                    "UPDATE example_vectors SET encoder = :key, vector = CAST(:vector AS vector) WHERE example_id IN "
                    "(SELECT e.id FROM examples e JOIN labels l ON l.id = e.label_id WHERE l.name = :label)"
                ),
                {"key": f"lite@{OLD}", "vector": json.dumps(vector.tolist()), "label": label},
            )
    caplog.set_level(logging.INFO, logger="app.collections")
    async with running(tmp_path, addresses) as client:
        listed = (await client.get("/v1/collections/kept/examples")).json()
        assert len(listed["data"]) == 2, "old rows stay readable"

        async def classify() -> httpx.Response:
            form = {"collection": "kept", "threshold": "0"}
            return await client.post("/v1/classify", data=form, files={"image": shapes.data(1)})

        reply = await classify()
        assert reply.status_code == 503
        assert "are being embedded again, by new weights" in reply.json()["error"]["message"]
        end = time.monotonic() + 120
        while (reply := await classify()).status_code == 503:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        assert reply.json()["label"] == "second"
    assert "embedding a collection again" in caplog.text
    assert "a collection was embedded again" in caplog.text
    with sync_engine(addresses.database_url).connect() as connection:
        rows = connection.execute(text("SELECT encoder, vector_dims(vector) FROM example_vectors")).all()
    assert [dim for key, dim in rows if key != f"lite@{OLD}"] == [1472, 1472]


@pytest.mark.parametrize("fingerprint", [OLD, None])
@pytest.mark.slow
async def test_a_model_trained_over_the_old_vectors_goes_on_with_them(
    addresses: Addresses, tmp_path: Path, fingerprint: str | None
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    note = ClassifierNote(
        id="veteran",
        method="custom_manyshot",
        family="lite",
        base_model="lite",
        base_fingerprint=fingerprint or "0" * 16,
        labels=list(LABELS),
        dim=1280,
        temperature=30.0,
    )
    save_classifier(folder, note, Weights(old_vectors(tmp_path / "old"), np.arange(2)))
    async with running(tmp_path, addresses) as client:
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        reply = await client.post("/v1/models", files={"archive": zip_files(files)})
        assert reply.status_code == 201, reply.text
        assert reply.json()["trained"]["base_changed"] is (fingerprint is None)
        reply = await client.post("/v1/classify", data={"model": "veteran"}, files={"image": shapes.data(1)})
        if fingerprint is None:
            assert reply.status_code == 409
        else:
            assert reply.json()["label"] == "second"
