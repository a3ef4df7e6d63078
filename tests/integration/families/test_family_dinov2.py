"""A family that reads images only, in a service whose default it is: taught, searched, trained, exported, moved."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
import pytest_asyncio
import torch
from fastapi import FastAPI
from transformers import AutoImageProcessor, Dinov2Model

from app.bootstrap import Services
from app.embedded import Addresses
from app.families import FAMILIES
from app.families.encoders import load_encoder, resolve
from app.inference.protocols import TextEncoder
from app.inference.sources import CHECKPOINTS, EncoderConfig
from app.main import create_app
from app.settings import Settings
from tests import shapes
from tests.integration.models.test_trained_models import (
    LABELS,
    folder_of,
    of_shape,
    teach_shapes,
    train_and_load,
    zip_files,
)
from tests.learning import get_json
from tests.made_engines import STEADY, link_engines, share_engines
from tests.working import run_job

MODEL = "dinov2-tiny"
OWN = """
name: {name}
description: What this test trains.
learning_types: [few_shot]
task: classification
model: {{family: dinov2, kind: encoder}}
method: {method}
samples: {{min: 2, best: 20, max: 1000}}
hardware: {{cpu_memory_gb: 1}}
strengths: [It is small.]
use_cases: [Tests.]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(
    module_addresses: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FastAPI]:
    """A service whose default encoder reads images only, with strategies for its family."""
    folder = tmp_path_factory.mktemp("dinov2")
    (folder / "own").mkdir()
    for method in ("head", "lora", "finetune"):
        text = OWN.format(name=f"dinov2_{method}", method=method)
        (folder / "own" / f"dinov2_{method}.yaml").write_text(text)
    settings = Settings(
        data_dir=share_engines(folder / "data"),
        device="cpu",
        encoder=MODEL,
        strategies_dir=folder / "own",
        **STEADY,
    )
    made = create_app(settings, module_addresses)
    async with made.router.lifespan_context(made):
        await made.state.services.default_model.loading
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def teacher(service: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose default collection holds five images of each shape."""
    _, key = await service.state.services.keys.create(
        name="shapes", workspace="shapes", scopes=("recognise", "learn", "train")
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(service, raise_app_exceptions=False),
        base_url="http://127.0.0.1",
        headers={"Authorization": f"Bearer {key}"},
        timeout=120,
    ) as client:
        await teach_shapes(client)
        yield client


@pytest.fixture
def services(service: FastAPI) -> Services:
    found: Services = service.state.services
    return found


async def right_of(client: httpx.AsyncClient, model: str | None = None) -> int:
    """How many of 18 images of shapes, none of them taught, are named right."""
    form = {"threshold": "0"} if model is None else {"threshold": "0", "model": model}
    right = 0
    for label in LABELS:
        images = [("image", data) for data in of_shape(label, 6, skip=5)]
        reply = await client.post("/v1/classify", data=form, files=images)
        assert reply.status_code == 200, reply.text
        right += sum(answer["label"] == label for answer in reply.json()["data"])
    return right


@pytest.mark.slow
def test_its_vectors_are_the_class_tokens_of_transformers(tmp_path: Path) -> None:
    config = EncoderConfig("cpu", "auto", True, 0.99, 0, link_engines(tmp_path), allow_downloads=False)
    encoder = load_encoder(resolve(MODEL), config)
    assert (encoder.family, encoder.dim, encoder.input_size) == ("dinov2", 64, 64)
    assert not isinstance(encoder, TextEncoder)
    pictures = [shapes.image(number) for number in list(shapes.paths())[:16]]
    pixels = np.stack([encoder.preprocess(picture) for picture in pictures])
    own = AutoImageProcessor.from_pretrained(CHECKPOINTS / MODEL, backend="pil")
    model = Dinov2Model.from_pretrained(CHECKPOINTS / MODEL).eval()
    with torch.inference_mode():
        token = model(**own(images=pictures, return_tensors="pt")).last_hidden_state[:, 0]
    reference = torch.nn.functional.normalize(token, dim=-1).numpy()
    assert (encoder.encode_images(pixels) * reference).sum(axis=1).min() >= 0.99


def test_a_hub_id_is_recognised() -> None:
    assert resolve("facebook/dinov2-small").family == "dinov2"


async def test_it_is_listed_taught_and_searched_by_image(teacher: httpx.AsyncClient) -> None:
    listed = {model["id"]: model for model in (await get_json(teacher, "/v1/models"))["data"]}
    assert (listed[MODEL]["family"], listed[MODEL]["default"], listed[MODEL]["loaded"]) == (
        "dinov2",
        True,
        True,
    )
    assert await right_of(teacher) >= 14  # of 18; chance is 6
    files = {"image": of_shape("circle", 1)[0]}
    found = await teacher.post("/v1/search", data={"top_k": "3"}, files=files)
    assert found.json()["data"][0]["label"] == "circle"
    vector = await teacher.post("/v1/embeddings", files=files)
    assert len(vector.json()["data"][0]["embedding"]) == 64


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        (
            "/v1/classify",
            {"data": {"labels": "circle,triangle"}, "files": {"image": of_shape("circle", 1)[0]}},
        ),
        ("/v1/search", {"files": {"text": (None, "a circle")}}),
        ("/v1/embeddings", {"json": {"input": ["a circle"]}}),
    ],
)
async def test_what_needs_texts_is_refused_in_words(
    teacher: httpx.AsyncClient, path: str, sent: dict[str, Any]
) -> None:
    reply = await teacher.post(path, **sent)
    assert reply.status_code == 422, reply.text
    assert "'dinov2-tiny' reads images only" in reply.json()["detail"]


async def test_answers_are_taught_and_found_by_their_images(teacher: httpx.AsyncClient) -> None:
    for shape in ("circle", "triangle"):
        reply = await teacher.post(
            "/v1/collections/default/answers",
            data={"question": "what shape is it?", "answer": shape},
            files={"image": of_shape(shape, 1)[0]},
        )
        assert reply.status_code == 201, reply.text
    reply = await teacher.post(
        "/v1/vqa",
        data={"question": "what shape is it?", "collection": "default", "k": "2", "max_new_tokens": "4"},
        files={"image": of_shape("circle", 1)[0]},
    )
    assert reply.status_code == 200, reply.text


async def test_it_is_recommended(teacher: httpx.AsyncClient) -> None:
    wanted = {"task": "classification", "learning_type": "few_shot", "dataset_size": 20, "hardware": "auto"}
    reply = await teacher.post("/v1/strategies/recommend", json=wanted)
    reasons = {fit["name"]: fit["reason"] for fit in reply.json()["data"]}
    assert "'dinov2-tiny' can be used" in reasons["prototypical_fewshot"]
    assert "'dinov2-tiny' can be used" in reasons["dinov2_lora"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def by_head(teacher: httpx.AsyncClient, service: FastAPI) -> str:
    """A model of a head, trained."""
    await train_and_load(teacher, service.state.services, strategy="dinov2_head", params={}, name="by-head")
    return "by-head"


@pytest.mark.slow
async def test_its_head_is_trained(teacher: httpx.AsyncClient, by_head: str) -> None:
    assert await right_of(teacher, by_head) >= 14


@pytest.mark.slow
async def test_its_head_is_exported_without_texts(
    teacher: httpx.AsyncClient, services: Services, by_head: str, tmp_path: Path
) -> None:
    reply = await teacher.post("/v1/models/by-head/export", json={"format": "onnx"})
    job = await run_job(services, teacher, reply.json()["id"])
    assert job["state"] == "succeeded", job["error"]
    assert set(job["result"]["export"]["files"]) == {"image_encoder.onnx", "classifier.onnx"}
    files = await folder_of(teacher, "by-head")
    (tmp_path / "classifier.onnx").write_bytes(files["exports/onnx/classifier.onnx"])
    session = onnxruntime.InferenceSession(
        str(tmp_path / "classifier.onnx"), providers=["CPUExecutionProvider"]
    )
    config = EncoderConfig.from_settings(services.settings)
    own = FAMILIES.get("dinov2").image_tower(resolve(MODEL), config)
    pixels = own.preprocess(shapes.image(next(iter(shapes.paths()))))[None]
    scores, none = session.run(["scores", "none"], {"pixels": pixels})
    assert scores.sum() + none.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
async def test_its_adapter_is_trained_merged_and_moves(
    teacher: httpx.AsyncClient, services: Services
) -> None:
    params = {"steps": 40, "augment": False, "evaluate_every": 20, "publish": "trained"}
    job = await train_and_load(teacher, services, strategy="dinov2_lora", params=params, name="by-lora")
    assert job["result"]["evaluation"]["accuracy"] > 1 / 3
    assert await right_of(teacher, "by-lora") >= 14
    files = await folder_of(teacher, "by-lora")
    assert {"adapter_config.json", "adapter_model.safetensors", "head.safetensors"} <= files.keys()

    reply = await teacher.post("/v1/models/by-lora/export", json={"format": "safetensors"})
    job = await run_job(services, teacher, reply.json()["id"])
    assert job["state"] == "succeeded", job["error"]

    note = json.loads(files["vision.json"]) | {"id": "moved"}
    reply = await teacher.post(
        "/v1/models", files={"archive": zip_files(files | {"vision.json": json.dumps(note).encode()})}
    )
    assert reply.status_code == 201, reply.text
    image = {"image": of_shape("circle", 1, skip=9)[0]}
    answers = [
        (await teacher.post("/v1/classify", data={"model": name}, files=image)).json()["scores"]
        for name in ("by-lora", "moved")
    ]
    assert answers[0] == answers[1]

    whole = {name: data for name, data in files.items() if not name.startswith(("adapter_", "exports/"))}
    whole |= {path.name: path.read_bytes() for path in (CHECKPOINTS / MODEL).iterdir()}
    note = note | {"id": "whole", "adapted": "full"}
    reply = await teacher.post(
        "/v1/models", files={"archive": zip_files(whole | {"vision.json": json.dumps(note).encode()})}
    )
    assert reply.status_code == 201, reply.text
    assert await right_of(teacher, "whole") > 6


@pytest.mark.slow
async def test_its_pixels_are_trained(teacher: httpx.AsyncClient, services: Services) -> None:
    params = {"epochs": 2, "augment": False, "batch_size": 4}
    await train_and_load(teacher, services, strategy="dinov2_finetune", params=params, name="by-pixels")
    files = await folder_of(teacher, "by-pixels")
    assert {"model.safetensors", "config.json", "preprocessor_config.json"} <= files.keys()
    assert await right_of(teacher, "by-pixels") >= 10
    assert (await get_json(teacher, "/v1/models/by-pixels"))["family"] == "dinov2"
