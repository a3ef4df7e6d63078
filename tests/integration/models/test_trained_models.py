"""A trained model from its job to its end: published, listed, used by its id, moved elsewhere, removed."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.bootstrap import Services
from app.inference.sources import CHECKPOINTS
from app.models.classifiers import TrainedClassifier
from tests import shapes
from tests.conftest import ClientMaker
from tests.engines import until
from tests.working import run_job

LABELS = ("circle", "rectangle", "triangle")


def of_shape(shape: str, count: int, skip: int = 0) -> list[bytes]:
    numbers = [number for number, (_, name) in shapes.list_shapes().items() if name == shape]
    return [shapes.data(number) for number in numbers[skip : skip + count]]


async def teach_shapes(client: httpx.AsyncClient, count: int = 5) -> None:
    for label in LABELS:
        files = [("images", data) for data in of_shape(label, count)]
        reply = await client.post("/v1/collections/default/examples", data={"label": label}, files=files)
        assert reply.status_code == 201


async def train_and_load(client: httpx.AsyncClient, services: Services, **wanted: Any) -> dict[str, Any]:
    body = {"strategy": "prototypical_fewshot", "params": {"steps": 30, "augment": False}, **wanted}
    reply = await client.post("/v1/jobs", json=body)
    assert reply.status_code == 202, reply.text
    job = await run_job(services, client, reply.json()["id"])
    assert job["state"] == "succeeded", job["error"]
    return job


async def folder_of(client: httpx.AsyncClient, model: str) -> dict[str, bytes]:
    listed = (await client.get(f"/v1/models/{model}/artifacts")).json()["data"]
    return {artifact["name"]: (await client.get(artifact["url"])).content for artifact in listed}


def zip_files(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@dataclass(frozen=True)
class Published:
    """A client that trained the model `shapes`, its job, and the model's files."""

    client: httpx.AsyncClient
    job: dict[str, Any]
    files: dict[str, bytes]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def published(module_client: httpx.AsyncClient, services: Services) -> Published:
    await teach_shapes(module_client)
    job = await train_and_load(module_client, services, name="shapes")
    return Published(module_client, job, await folder_of(module_client, "shapes"))


async def test_a_model_is_served_from_the_moment_it_is_published_until_it_is_removed(
    published: Published, make_client: ClientMaker
) -> None:
    client, job, other = published.client, published.job, await make_client()
    assert job["model"] == "shapes"
    assert job["result"]["evaluation"]["chance"] == pytest.approx(1 / 3)
    assert {artifact["name"] for artifact in job["artifacts"]} >= {
        "vision.json",
        "head.safetensors",
        "evaluation.json",
    }

    listed = {model["id"]: model for model in (await client.get("/v1/models")).json()["data"]}
    facts = listed["shapes"]["trained"]
    assert listed["shapes"]["kind"] == "classifier"
    assert (facts["base_model"], facts["method"], facts["labels"]) == ("lite", "prototypical", list(LABELS))
    assert facts["data"]["labels"] == {"circle": 5, "rectangle": 5, "triangle": 5}
    assert facts["job_id"] == job["id"]
    assert not facts["base_changed"]
    assert listed["lite"]["trained"] is None

    right = 0
    for label in LABELS:
        for data in of_shape(label, 6, skip=5):
            reply = (
                await client.post(
                    "/v1/classify", data={"model": "shapes", "threshold": "0"}, files={"image": data}
                )
            ).json()
            assert (reply["model"], reply["collection"]) == ("shapes", None)
            assert sum(score["score"] for score in reply["scores"]) + reply["none"] == pytest.approx(
                1, abs=1e-4
            )
            right += reply["label"] == label
    assert right >= 12  # of 18; chance is 6

    for path, form in (
        ("/v1/classify", {"model": "shapes"}),
        ("/v1/vqa", {"model": "shapes", "question": "what?"}),
    ):
        reply = await other.post(path, data=form, files={"image": of_shape("circle", 1)[0]})
        assert reply.status_code == 404
    assert (await other.get("/v1/models/shapes")).status_code == 404
    assert (await other.delete("/v1/models/shapes")).status_code == 404
    assert (await other.get("/v1/models/shapes/artifacts/vision.json")).status_code == 404

    image = {"image": of_shape("circle", 1)[0]}
    both = await client.post("/v1/classify", data={"model": "shapes", "collection": "default"}, files=image)
    assert (both.status_code, "labels of its own" in both.json()["detail"]) == (422, True)
    asked = await client.post("/v1/vqa", data={"model": "shapes", "question": "what?"}, files=image)
    assert asked.status_code == 422

    assert (await client.delete("/v1/models/shapes")).status_code == 204
    gone = await client.post("/v1/classify", data={"model": "shapes"}, files=image)
    assert gone.status_code == 404
    assert (await client.get(f"/v1/jobs/{job['id']}")).json()["artifacts"] == []
    assert (await client.delete("/v1/models/lite")).status_code == 409


@pytest.mark.slow
async def test_a_model_travels_as_an_archive(make_client: ClientMaker, services: Services) -> None:
    client, other = await make_client(), await make_client()
    await teach_shapes(client, 3)
    await train_and_load(client, services, name="travels", strategy="prototypical_fewshot")
    files = await folder_of(client, "travels")
    reply = await other.post("/v1/models", files={"archive": zip_files(files)})
    assert reply.status_code == 201, reply.text
    assert reply.json()["trained"]["job_id"] is None
    image = {"image": of_shape("triangle", 1, skip=9)[0]}
    answers = [
        (await caller.post("/v1/classify", data={"model": "travels"}, files=image)).json()
        for caller in (client, other)
    ]
    assert answers[0]["scores"] == answers[1]["scores"]
    assert (await other.post("/v1/models", files={"archive": zip_files(files)})).status_code == 409

    note = json.loads(files["vision.json"])
    wrong: list[tuple[dict[str, bytes], str]] = [
        ({"head.safetensors": files["head.safetensors"]}, "vision.json"),
        ({**files, "code.py": b"import os"}, "code.py"),
        ({**files, "head.safetensors": b"x" * 100}, "head.safetensors"),
        ({**files, "vision.json": json.dumps({**note, "id": "../x"}).encode()}, "id"),
        (
            {**files, "vision.json": json.dumps({**note, "id": "n1", "base_model": "/etc"}).encode()},
            "base_model",
        ),
        ({**files, "vision.json": json.dumps({**note, "id": "n2", "labels": ["a"]}).encode()}, "labels"),
        ({**files, "../vision.json": b"x"}, "not a name"),
    ]
    for archive, words in wrong:
        reply = await other.post("/v1/models", files={"archive": zip_files(archive)})
        assert reply.status_code == 422, (words, reply.text)
        assert words in reply.json()["detail"]


async def test_a_model_over_another_version_of_its_base_says_so(
    published: Published, client: httpx.AsyncClient
) -> None:
    note = json.loads(published.files["vision.json"]) | {"base_fingerprint": "0" * 16}
    files = {**published.files, "vision.json": json.dumps(note).encode()}
    await client.post("/v1/models", files={"archive": zip_files(files)})
    shown = (await client.get("/v1/models/shapes")).json()["trained"]
    assert shown["base_changed"]
    assert "train it again" in shown["note"]
    reply = await client.post(
        "/v1/classify", data={"model": "shapes"}, files={"image": of_shape("circle", 1)[0]}
    )
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "base_model_changed")


async def test_a_model_goes_on_loading_for_the_request_that_comes_again(
    published: Published, client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = await client.post("/v1/models", files={"archive": zip_files(published.files)})
    assert reply.status_code == 201, reply.text
    workspace = (await client.get("/v1/access")).json()["workspace"]
    found = await services.trained.find(workspace, "shapes")
    assert found is not None
    load, may_end, loads = TrainedClassifier.load, threading.Event(), []

    def load_slowly(folder: Path) -> TrainedClassifier:
        loads.append(folder)
        may_end.wait(60)
        return load(folder)

    monkeypatch.setattr(TrainedClassifier, "load", load_slowly)
    first = asyncio.create_task(services.trained.classifier(workspace, found))
    await until(lambda: bool(loads))
    first.cancel()
    again = [asyncio.create_task(services.trained.classifier(workspace, found)) for _ in range(3)]
    await asyncio.sleep(0)
    may_end.set()
    assert len({id(known) for known, _ in await asyncio.gather(*again)}) == 1
    assert loads == [found.folder]


@pytest.mark.slow
async def test_damaged_files_are_noticed(
    client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    await teach_shapes(client, 2)
    job = await train_and_load(client, services, name="damaged")
    key = next(
        artifact
        for artifact in (await client.get("/v1/models/damaged/artifacts")).json()["data"]
        if artifact["name"] == "head.safetensors"
    )
    stored = next((services.settings.server.data_dir / "files" / "jobs" / job["id"]).rglob(key["name"]))
    stored.write_bytes(stored.read_bytes()[:-4] + b"xxxx")
    reply = await client.post(
        "/v1/classify", data={"model": "damaged"}, files={"image": of_shape("circle", 1)[0]}
    )
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_unavailable")


@pytest.mark.slow
async def test_a_trained_model_is_shown_examples_only_where_asked(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """It learned its answers from images alone; examples beside the question spoil them."""
    import peft
    from transformers import LlavaForConditionalGeneration

    base = LlavaForConditionalGeneration.from_pretrained(CHECKPOINTS / "llava-shapes")
    peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    note = {"id": "adapted", "kind": "vlm", "task": "vqa", "base_model": "llava-shapes", "format": 1}
    files = {
        "vision.json": json.dumps({**note, "tasks": ["vqa"], "method": "lora", "adapted": "peft"}).encode(),
        "adapter_config.json": json.dumps({**config, "base_model_name_or_path": "llava-shapes"}).encode(),
        "adapter_model.safetensors": (tmp_path / "adapter_model.safetensors").read_bytes(),
    }
    reply = await client.post("/v1/models", files={"archive": zip_files(files)})
    assert reply.status_code == 201, reply.text
    image = {"image": of_shape("circle", 1)[0]}
    taught = {"question": "what shape?", "answer": "round"}
    await client.post("/v1/collections/default/answers", data=taught, files=image)
    shown = []
    for fields in ({}, {"model": "adapted"}, {"model": "adapted", "k": "1"}):
        data = {"question": "what shape?", "collection": "default", **fields}
        shown.append(len((await client.post("/v1/vqa", data=data, files=image)).json()["examples_used"]))
    assert shown == [1, 0, 1]
    about = (await client.get("/v1/collections/default")).json()
    assert (about["labels"], about["examples"], about["answers"]) == (0, 0, 1)
