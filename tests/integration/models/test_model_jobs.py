"""A trained model judged and exported: figures, pictures, graphs that give the service's labels."""

from __future__ import annotations

import io
import os
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
from app.inference import device as devices
from tests import shapes
from tests.conftest import ClientMaker
from tests.exported import predictions
from tests.integration.models.test_trained_models import teach_shapes, train_and_load
from tests.working import run_job

EXPORTED = 100
MARGINS = {"float32": 0.005, "float16": 0.01, "bfloat16": 0.05}
"""How far two labels' scores may lie apart and still change places, by the number format of the service: unit features
with logits of some tens, rounded to 24, 11 and 8 bits; float32 allows for another order of summing.
"""


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
        await teach_shapes(client, 4)
        await train_and_load(
            client, services, name="shapes", params={"steps": 40, "augment": False, "evaluate_every": 20}
        )
        yield client


async def run_model_job(
    client: httpx.AsyncClient, services: Services, path: str, body: dict[str, Any]
) -> dict[str, Any]:
    reply = await client.post(path, json=body)
    assert reply.status_code == 202, reply.text
    job = await run_job(services, client, reply.json()["id"])
    assert job["state"] == "succeeded", job["error"]
    return job


async def test_an_evaluation_leaves_figures_and_pictures(
    owner: httpx.AsyncClient, services: Services
) -> None:
    job = await run_model_job(owner, services, "/v1/models/shapes/evaluate", {"collection": "default"})
    found = job["result"]["evaluation"]
    assert found["examples"] == 12
    assert found["accuracy"] > 0.8
    assert found["chance"] == pytest.approx(1 / 3)
    assert set(found["per_class"]) == {"circle", "rectangle", "triangle"}
    files = {
        artifact["name"]: artifact
        for artifact in (await owner.get("/v1/models/shapes/artifacts")).json()["data"]
    }
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
    await check_tables(owner, job["id"], found)


async def check_tables(owner: httpx.AsyncClient, job: str, found: dict[str, Any]) -> None:
    """What the pictures show is there as data, and each image behind it is one of the collection's."""
    listed = (await owner.get(f"/v1/jobs/{job}/artifacts")).json()["data"]
    files = {Path(artifact["name"]).name: artifact["url"] for artifact in listed}
    table = (await owner.get(files["confusion.json"])).json()
    assert (table["labels"], table["counts"]) == (found["confusion"]["labels"], found["confusion"]["matrix"])
    seen = 0
    for cell in table["cells"]:
        row, column = (table["labels"].index(cell[name]) for name in ("truth", "said"))
        assert cell["count"] == table["counts"][row][column] == len(cell["images"])
        for sha256 in cell["images"]:
            reply = await owner.get("/v1/collections/default/examples", params={"image_sha256": sha256})
            assert [row["label"] for row in reply.json()["data"]] == [cell["truth"]]
        seen += cell["count"]
    assert seen == found["examples"]
    mistakes = (await owner.get(files["mistakes.json"])).json()
    wrong = {(cell["truth"], cell["said"], sha) for cell in table["cells"] for sha in cell["images"]}
    assert {(mistake["truth"], mistake["said"], mistake["image_sha256"]) for mistake in mistakes} == {
        pair for pair in wrong if pair[0] != pair[1]
    }
    assert len(mistakes) == round(found["examples"] * (1 - found["accuracy"]))
    assert all(0 < mistake["score"] <= 1 for mistake in mistakes)


@pytest.mark.slow
async def test_the_exported_classifier_gives_the_services_labels(
    owner: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    job = await run_model_job(owner, services, "/v1/models/shapes/export", {"format": "onnx"})
    report = job["result"]["export"]
    assert report["trained_on"], "compared on what it learned from"
    assert set(report["files"]) == {"image_encoder.onnx", "classifier.onnx"}
    assert "text_encoder: true" in report["left_out"]["text_encoder.onnx"]
    assert all(file["least_cosine"] > 0.999 for file in report["files"].values())
    folder = await download_export(owner, "/v1/models/shapes/artifacts", tmp_path)
    assert "text_encoder.onnx" not in {path.name for path in folder.iterdir()}
    page = (folder / "README.md").read_text()
    assert "scores` float32 [images, 3]" in page
    assert "0.875 of the shorter side, scaled to 224 x 224 (bilinear)" in page
    assert "mean 127, 127, 127 and std 128, 128, 128" in page
    assert len((folder / "predict.py").read_text().splitlines()) <= 40
    images = odd_images(tmp_path)
    for path, (label, score) in zip(images, predictions(folder, images), strict=True):
        served = await owner.post(
            "/v1/classify", data={"model": "shapes"}, files={"image": path.read_bytes()}
        )
        answer = served.json()
        assert label == (answer["label"] or "none of the labels"), path.name
        assert float(score) == pytest.approx(answer["scores"][0]["score"], abs=0.02), path.name
    session = onnxruntime.InferenceSession(
        str(folder / "classifier.onnx"), providers=["CPUExecutionProvider"]
    )
    numbers = list(shapes.paths())[:EXPORTED]
    same = 0
    dtype = devices.parse(os.environ["VISION_DEVICE"]).dtype_name
    margin = MARGINS[dtype]
    for start in range(0, EXPORTED, 20):
        part = numbers[start : start + 20]
        pixels = np.stack([prepare(shapes.image(number)) for number in part])
        scores, none = session.run(["scores", "none"], {"pixels": pixels})
        assert scores.sum(axis=1) + none == pytest.approx(1, abs=1e-4)
        form = {"model": "shapes", "threshold": "0"}
        images = [("image", shapes.data(number)) for number in part]
        served = (await owner.post("/v1/classify", data=form, files=images)).json()["data"]
        for row, other in zip(scores, served, strict=True):
            told = report["labels"].index(other["label"])
            same += told == row.argmax()
            # the export is float32 (its own gate holds it to that): where the service computes in another format,
            # labels may change places that lie no further apart than that format rounds
            assert row.max() - row[told] <= margin
    assert same >= (EXPORTED - 1 if dtype == "float32" else 0.95 * EXPORTED)


@pytest.mark.slow
async def test_an_exported_encoder_gives_the_services_vectors(
    owner: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    job = await run_model_job(
        owner, services, "/v1/models/clip-tiny/export", {"format": "onnx", "text_encoder": True}
    )
    assert set(job["result"]["export"]["files"]) == {"image_encoder.onnx", "text_encoder.onnx"}
    folder = await download_export(owner, f"/v1/jobs/{job['id']}/artifacts", tmp_path)
    assert (folder / "tokenizer" / "tokenizer.json").is_file()
    assert "The middle 64 x 64 of it" in (folder / "README.md").read_text()
    images = odd_images(tmp_path)
    for path, row in zip(images, predictions(folder, images), strict=True):
        served = await owner.post(
            "/v1/embeddings", data={"model": "clip-tiny"}, files={"image": path.read_bytes()}
        )
        assert np.array(row, np.float32) @ np.array(served.json()["data"][0]["embedding"]) > 0.999, path.name


async def test_a_text_encoder_is_only_asked_for_where_there_is_one(owner: httpx.AsyncClient) -> None:
    for model, format_ in (("dinov2-tiny", "onnx"), ("llava-shapes", "onnx"), ("shapes", "safetensors")):
        body = {"format": format_, "text_encoder": True}
        reply = await owner.post(f"/v1/models/{model}/export", json=body)
        assert reply.status_code == 422, reply.text
        assert "leave text_encoder out" in reply.json()["detail"]


async def download_export(client: httpx.AsyncClient, artifacts: str, folder: Path) -> Path:
    """The files of an ONNX export, downloaded."""
    target = folder / "exported"
    for file in (await client.get(artifacts)).json()["data"]:
        if file["name"].startswith("exports/onnx/"):
            path = target / file["name"].removeprefix("exports/onnx/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((await client.get(file["url"])).content)
    return target


def odd_images(folder: Path) -> list[Path]:
    """Pictures of shapes that have to be prepared in every way that there is."""
    first, second = (shapes.image(number) for number in list(shapes.paths())[:2])
    wide = Image.new("RGB", (400, 150), "white")
    wide.paste(first.resize((150, 150)), (120, 0))
    see_through = second.convert("RGBA")
    see_through.putalpha(Image.radial_gradient("L").resize(second.size))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter
    deep = Image.fromarray(np.asarray(first.convert("L"), np.uint16) * 257)
    made = {
        "plain.png": (first, {}),
        "wide.png": (wide, {}),
        "long.png": (wide.resize((1500, 60)).rotate(90, expand=True), {}),
        "turned.jpg": (wide, {"exif": turned, "quality": 95}),
        "large.jpg": (wide.resize((2400, 1001), Image.Resampling.BICUBIC), {"exif": turned, "quality": 95}),
        "see-through.png": (see_through, {}),
        "grey.png": (second.convert("L"), {}),
        "deep.png": (deep, {}),
        "palette.gif": (second.quantize(16), {}),
    }
    paths = []
    for name, (image, options) in made.items():
        image.save(folder / name, **options)
        paths.append(folder / name)
    return paths


async def test_weights_travel_too(owner: httpx.AsyncClient, services: Services) -> None:
    job = await run_model_job(owner, services, "/v1/models/shapes/export", {"format": "safetensors"})
    assert {"model.safetensors", "head.safetensors", "vision.json"} <= set(job["result"]["export"]["files"])
    names = {artifact["name"] for artifact in (await owner.get("/v1/models/shapes/artifacts")).json()["data"]}
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
