"""A trained model judged and exported: figures, pictures, graphs that give the service's labels."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
import pytest_asyncio
from PIL import Image

from app.bootstrap import Services
from app.families.lite.encoder import prepare
from tests import shapes
from tests.conftest import ClientMaker
from tests.integration.test_trained_models import taught, trained
from tests.working import carried_out

EXPORTED = 200


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def owner(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose workspace holds the trained model `shapes`."""
    services: Services = app.state.services
    _, key = await services.keys.create(
        name="model jobs", workspace="model-jobs", scopes=("recognise", "learn", "train")
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url="http://127.0.0.1",
        headers={"Authorization": f"Bearer {key}"},
        timeout=120,
    ) as client:
        await taught(client, 4)
        await trained(
            client, services, name="shapes", params={"steps": 40, "augment": False, "evaluate_every": 20}
        )
        yield client


async def asked(
    client: httpx.AsyncClient, services: Services, path: str, body: dict[str, Any]
) -> dict[str, Any]:
    reply = await client.post(path, json=body)
    assert reply.status_code == 202, reply.text
    job = await carried_out(services, client, reply.json()["id"])
    assert job["state"] == "succeeded", job["error"]
    return job


async def test_an_evaluation_leaves_figures_and_pictures(
    owner: httpx.AsyncClient, services: Services
) -> None:
    job = await asked(owner, services, "/v1/models/shapes/evaluate", {"collection": "default"})
    found = job["result"]["evaluation"]
    assert found["examples"] == 12
    assert found["accuracy"] > 0.8
    assert found["chance"] == pytest.approx(1 / 3)
    assert set(found["per_class"]) == {"circle", "rectangle", "triangle"}
    files = {one["name"]: one for one in (await owner.get("/v1/models/shapes/artifacts")).json()["data"]}
    pictures = [name for name in files if name.startswith("evaluations/") and name.endswith(".png")]
    assert {Path(name).name for name in pictures} == {
        "confusion.png",
        "reliability.png",
        "mistakes.png",
        "curves.png",
    }
    for name in pictures:
        with Image.open(io.BytesIO((await owner.get(files[name]["url"])).content)) as image:
            assert image.format == "PNG"


async def test_the_exported_classifier_gives_the_services_labels(
    owner: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    job = await asked(owner, services, "/v1/models/shapes/export", {"format": "onnx"})
    report = job["result"]["export"]
    assert report["trained_on"], "compared on what it learned from"
    assert set(report["files"]) == {"image_encoder.onnx", "text_encoder.onnx", "classifier.onnx"}
    assert all(one["least_cosine"] > 0.999 for one in report["files"].values())
    files = {
        one["name"]: one["url"] for one in (await owner.get("/v1/models/shapes/artifacts")).json()["data"]
    }
    assert "exports/onnx/README.md" in files
    path = tmp_path / "classifier.onnx"
    path.write_bytes((await owner.get(files["exports/onnx/classifier.onnx"])).content)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    numbers = list(shapes.paths())[:EXPORTED]
    same = 0
    for start in range(0, EXPORTED, 20):
        part = numbers[start : start + 20]
        pixels = np.stack([prepare(shapes.image(number)) for number in part])
        scores, none = session.run(["scores", "none"], {"pixels": pixels})
        assert scores.sum(axis=1) + none == pytest.approx(1, abs=1e-4)
        form = {"model": "shapes", "threshold": "0"}
        images = [("image", shapes.data(number)) for number in part]
        served = (await owner.post("/v1/classify", data=form, files=images)).json()["data"]
        best = [report["labels"][index] for index in scores.argmax(axis=1)]
        same += sum(one == other["label"] for one, other in zip(best, served, strict=True))
    assert same >= EXPORTED - 1  # two float32 runtimes may disagree where two labels are all but equal


async def test_weights_travel_too(owner: httpx.AsyncClient, services: Services) -> None:
    job = await asked(owner, services, "/v1/models/shapes/export", {"format": "safetensors"})
    assert {"model.safetensors", "head.safetensors", "vision.json"} <= set(job["result"]["export"]["files"])
    names = {one["name"] for one in (await owner.get("/v1/models/shapes/artifacts")).json()["data"]}
    assert {"exports/safetensors/model.safetensors", "exports/safetensors/README.md"} <= names


async def test_what_cannot_be_done_is_refused_at_once(
    owner: httpx.AsyncClient, make_client: ClientMaker
) -> None:
    other = await make_client()
    refused = [
        (other, "/v1/models/shapes/evaluate", {"collection": "default"}, 404),
        (other, "/v1/models/shapes/export", {"format": "onnx"}, 404),
        (owner, "/v1/models/shapes/export", {"format": "tflite"}, 422),
        (owner, "/v1/models/shapes/evaluate", {}, 422),
        (owner, "/v1/models/shapes/evaluate", {"collection": "nothing"}, 404),
    ]
    for client, path, body, status in refused:
        reply = await client.post(path, json=body)
        assert reply.status_code == status, (path, body, reply.text)
