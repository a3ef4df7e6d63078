"""Uploaded models: taken in where they work, refused in words where they do not."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import peft
import pytest
import torch
from safetensors.numpy import save
from safetensors.torch import load as load_torch
from safetensors.torch import save as save_torch
from transformers import CLIPModel

from app.bootstrap import Services
from app.families.lite.efficientnet_lite import EfficientNetLite0
from app.families.lite.variants import fingerprint
from app.inference.sources import CHECKPOINTS
from tests.conftest import ClientMaker
from tests.integration.models.test_trained_models import of_shape, zip_files

NOTE: dict[str, Any] = {
    **{"format": 1, "kind": "classifier", "task": "classification", "method": "lora", "labels": ["a", "b"]},
    **{"family": "lite", "base_model": "lite", "base_fingerprint": "", "dim": 1472, "temperature": 30.0},
}


def tensors(dim: int = 1472) -> dict[str, Any]:
    rows = np.random.default_rng(0).normal(size=(4, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return {
        "exemplars": rows,
        "owners": np.array([0, 0, 1, 1]),
        "rows": rows[1:3],
        "bias": np.zeros(2, np.float32),
    }


def head(name: str, found: dict[str, Any] | None = None, **changes: Any) -> dict[str, bytes]:
    """The files of a classifier over `lite`."""
    note = {**NOTE, "id": name, "base_fingerprint": fingerprint("roots"), **changes}
    return {"vision.json": json.dumps(note).encode(), "head.safetensors": save(found or tensors())}


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a classifier over clip-tiny with a LoRA adapter that changes what it sees."""
    folder = tmp_path_factory.mktemp("adapter")
    base = CLIPModel.from_pretrained(CHECKPOINTS / "clip-tiny")
    torch.manual_seed(0)
    adapted: Any = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter += torch.randn_like(parameter)
    adapted.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    files = head(
        "twin",
        tensors(base.config.projection_dim),
        **{"base_model": "clip-tiny", "family": "clip", "adapted": "peft", "base_fingerprint": "0"},
        dim=base.config.projection_dim,
    )
    return {
        **files,
        "adapter_config.json": json.dumps({**config, "base_model_name_or_path": "clip-tiny"}).encode(),
        "adapter_model.safetensors": (folder / "adapter_model.safetensors").read_bytes(),
    }


async def over_this_base(client: httpx.AsyncClient, files: dict[str, bytes]) -> dict[str, bytes]:
    """With the fingerprint that the base has here."""
    image = {"image": of_shape("circle", 1)[0]}
    await client.post("/v1/classify", data={"model": "clip-tiny", "labels": "a,b"}, files=image)
    shown = (await client.get("/v1/models/clip-tiny")).json()
    note = json.loads(files["vision.json"]) | {"base_fingerprint": shown["fingerprint"]}
    return {**files, "vision.json": json.dumps(note).encode()}


async def send_model(client: httpx.AsyncClient, files: dict[str, bytes]) -> httpx.Response:
    return await client.post("/v1/models", files={"archive": zip_files(files)})


def list_kept(services: Services) -> tuple[list[Path], list[str]]:
    """Folders of models on this machine, and what the file store holds of uploaded ones."""
    cache = services.settings.server.data_dir / "cache" / "models"
    return sorted(cache.glob("*/*")), services.files.children("models")


@pytest.mark.slow
async def test_twins_of_two_workspaces_know_nothing_of_each_other(
    make_client: ClientMaker, services: Services, adapter: dict[str, bytes]
) -> None:
    one, other, stranger = await make_client(), await make_client(), await make_client()
    files = await over_this_base(one, adapter)
    before = list_kept(services)
    for client in (one, other):
        reply = await send_model(client, files)
        assert reply.status_code == 201, reply.text
    assert list_kept(services)[0] == before[0]  # the trial left nothing

    image = {"image": of_shape("circle", 1)[0]}
    answer = (await one.post("/v1/classify", data={"model": "twin"}, files=image)).json()
    shown = [(await client.get("/v1/models/twin")).json() for client in (one, other)]
    assert [each["loaded"] for each in shown] == [True, False]
    assert shown[0]["memory_mb"] > 0
    assert (shown[0]["trained"]["base_model"], shown[0]["trained"]["base_changed"]) == ("clip-tiny", False)
    assert "twin" not in json.dumps((await stranger.get("/v1/models")).json())
    for path, form in (("/v1/classify", {"labels": "a,b"}), ("/v1/vqa", {"question": "?"})):
        assert (await stranger.post(path, data={"model": "twin", **form}, files=image)).status_code == 404
    reply = await stranger.post("/v1/collections", json={"name": "mine", "encoder": "twin"})
    assert reply.status_code == 404
    assert reply.json()["detail"].count("twin") == 1  # the word that was sent, and no hint

    vectors = []
    for model in ("twin", "clip-tiny"):
        reply = await one.post("/v1/embeddings", json={"input": ["a photo"], "model": model})
        assert reply.json()["model"] == model
        vectors.append(reply.json()["data"][0]["embedding"])
    assert np.dot(*vectors) < 0.999
    assert (await stranger.post("/v1/embeddings", json={"input": "a", "model": "twin"})).status_code == 404

    same = await other.post("/v1/classify", data={"model": "twin"}, files=image)
    assert same.json()["scores"] == answer["scores"]
    assert (await one.delete("/v1/models/twin")).status_code == 204
    assert [info.name for info in services.registry.live()].count("twin") == 1
    assert len(list_kept(services)[0]) == len(before[0]) + 1
    same = await other.post("/v1/classify", data={"model": "twin"}, files=image)
    assert same.json()["scores"] == answer["scores"]
    assert (await other.get("/v1/models/twin")).json()["loaded"]
    assert (await other.delete("/v1/models/twin")).status_code == 204
    assert "twin" not in [info.name for info in services.registry.live()]
    assert list_kept(services) == before


@pytest.mark.slow
async def test_a_model_removed_while_its_files_are_fetched_does_not_stay(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list_kept(services)
    assert (await send_model(client, head("fleeting"))).status_code == 201
    reached, go_on, get = threading.Event(), threading.Event(), services.files.get

    def slow(key: str, target: Path) -> None:
        reached.set()
        assert go_on.wait(20)
        get(key, target)

    monkeypatch.setattr(services.files, "get", slow)
    image = {"image": of_shape("circle", 1)[0]}
    asking = asyncio.create_task(client.post("/v1/classify", data={"model": "fleeting"}, files=image))
    assert await asyncio.to_thread(reached.wait, 20)
    removing = asyncio.create_task(client.delete("/v1/models/fleeting"))
    go_on.set()
    assert (await asking).status_code in (200, 404)
    assert (await removing).status_code == 204
    assert list_kept(services) == before
    assert not [classifier for classifier in services.trained._classifiers if classifier.name == "fleeting"]


def tail(change: Any) -> dict[str, bytes]:
    own = EfficientNetLite0().state_dict()
    name = [name for name in own if name.endswith("running_var")][-1]
    files = head("bad", adapted="tail")
    return {**files, "tail.safetensors": save_torch({name: change(own[name].clone())})}


def hostile() -> list[tuple[str, dict[str, bytes]]]:
    good = tensors()

    def weights(**changes: Any) -> dict[str, bytes]:
        return head("bad", {**good, **changes})

    def note(**changes: Any) -> dict[str, bytes]:
        return head(**{"name": "bad", **changes})

    nan, inf = good["rows"] * np.float32("nan"), np.full_like(good["exemplars"], np.inf)
    deep = {**head("bad"), "vision.json": b"[" * 100_000}
    return [
        ("not finite", weights(rows=nan)),
        ("not finite", weights(exemplars=inf)),
        ("too large", weights(rows=good["rows"] * np.float32(3e38))),
        ("not float32", weights(rows=good["rows"].astype(np.float16))),
        ("which is not served", weights(owners=good["owners"].astype(np.uint64))),
        ("go together", weights(rows=good["rows"][:, :7])),
        ("go together", weights(exemplars=good["exemplars"][:0], owners=good["owners"][:0])),
        ("no readable JSON", deep),
        ("no readable JSON", {**head("bad"), "vision.json": b'{"temperature": NaN}'}),
        ("temperature", note(temperature=-1)),
        ("dim", note(dim=10**9)),
        ("dim", head("bad", tensors(64), dim=64)),
        ("labels", note(labels=[str(number) for number in range(10_001)])),
        ("labels", note(labels=["a", "b" * 2_000])),
        ("labels", note(labels=["a", "a "])),
        ("labels", note(labels=["a", "b\0"])),
        ("method", note(method="x\0")),
        ("base_fingerprint", note(base_fingerprint="\0")),
        ("labels", note(labels=5)),
        ("adapter_config.json", note(adapted="peft")),
        ("tail.safetensors", note(adapted="tail")),
        ("config.json", note(adapted="full")),
        ("cannot be read", tail(lambda weight: weight[:3])),
        ("not finite", tail(lambda weight: weight * float("nan"))),
        ("computes no numbers", tail(lambda weight: weight - 1e6)),
    ]


@pytest.mark.slow
async def test_what_cannot_work_is_refused_in_words_and_leaves_nothing(
    client: httpx.AsyncClient, services: Services, adapter: dict[str, bytes]
) -> None:
    before = list_kept(services)
    files = await over_this_base(client, adapter)
    lora = load_torch(adapter["adapter_model.safetensors"])
    cut = {name: tensor[:, :5].contiguous() if "lora_A" in name else tensor for name, tensor in lora.items()}
    strange = {name.replace("q_proj", "z_proj"): tensor for name, tensor in lora.items()}
    cases = [
        *hostile(),
        ("does not fit", {**files, "adapter_model.safetensors": save_torch(cut)}),
        ("does not fit", {**files, "adapter_model.safetensors": save_torch(strange)}),
    ]
    otherwise = []
    for words, archive in cases:
        reply = await send_model(client, archive)
        detail = reply.json()["detail"]
        if (
            reply.status_code != 422
            or words not in detail
            or str(services.settings.server.data_dir) in detail
        ):
            otherwise.append((words, reply.status_code, detail))
    assert not otherwise
    for name in ("lite", "clip", "llava-shapes", "flamingo", "remote"):
        assert (await send_model(client, head(name))).status_code == 409
    assert list_kept(services) == before
    assert not [info.name for info in services.registry.live() if info.name in ("bad", "twin")]


@pytest.mark.slow
async def test_one_too_large_to_be_tried_is_checked_and_left_unused(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    cannot_work = tail(lambda weight: weight - 1e6)  # which only the trial finds
    monkeypatch.setattr("app.models.trial.devices.host_memory_bytes", lambda: 4 << 30)
    reply = await send_model(client, cannot_work)
    assert reply.status_code == 201, reply.text
    assert (await send_model(client, tail(lambda weight: weight * float("nan")))).status_code == 422
    assert (await client.delete("/v1/models/bad")).status_code == 204


@pytest.mark.slow
async def test_a_whole_model_that_answers_is_taken_in(client: httpx.AsyncClient, tmp_path: Path) -> None:
    folder = shutil.copytree(CHECKPOINTS / "llava-shapes", tmp_path / "whole")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    note = {"format": 1, "id": "mine", "kind": "vlm", "task": "vqa", "method": "finetune", "family": "llava"}
    note |= {"base_model": "llava-hf/llava-1.5-7b-hf", "base_fingerprint": "0", "tasks": ["vqa"]}
    files["vision.json"] = json.dumps(note).encode()
    config = json.loads(files["config.json"])
    for words, changed in (
        ("architectures", {**config, "architectures": ["GPT2LMHeadModel"]}),
        ("'auto_map' is not accepted", {**config, "auto_map": {"AutoModel": "x.Y"}}),
        ("larger than", {**config, "text_config": {**config["text_config"], "hidden_size": 10**9}}),
        ("larger", {**config, "text_config": {**config["text_config"], "intermediate_size": 9_000_000}}),
    ):
        reply = await send_model(client, {**files, "config.json": json.dumps(changed).encode()})
        assert reply.status_code == 422, reply.text
        assert words in reply.json()["detail"]
    weights = load_torch(files["model.safetensors"])
    weights.pop(next(iter(weights)))
    reply = await send_model(client, {**files, "model.safetensors": save_torch(weights, {"format": "pt"})})
    assert (reply.status_code, "incomplete" in reply.json()["detail"]) == (422, True), reply.text

    loops = "{% for a in range(9999) %}" * 3 + "{% endfor %}" * 3
    asked = "{% if 'loop' in messages[-1]['content'][-1]['text'] %}" + loops + "{% endif %}"
    files["chat_template.jinja"] = asked.encode() + files["chat_template.jinja"]
    reply = await send_model(client, files)
    assert reply.status_code == 201, reply.text
    assert (reply.json()["trained"]["base_changed"], reply.json()["trained"]["note"]) == (False, None)
    image = {"image": of_shape("circle", 1)[0]}
    answers = [
        (
            await client.post("/v1/vqa", data={"model": name, "question": "what shape is it?"}, files=image)
        ).json()
        for name in ("mine", "llava-shapes")
    ]
    assert (answers[0]["model"], answers[0]["answer"]) == ("mine", answers[1]["answer"])
    # a template that begins to loop at a word of its own is ended at each use
    reply = await client.post("/v1/vqa", data={"model": "mine", "question": "loop"}, files=image)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "chat_template_failed"), reply.text
    assert "more steps" in reply.json()["detail"]
    reply = await client.post("/v1/embeddings", json={"input": "a", "model": "mine"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "model_cannot")
    assert (await client.delete("/v1/models/mine")).status_code == 204
