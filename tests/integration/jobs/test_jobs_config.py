"""Jobs by a configuration instead of a strategy: what it becomes, and what it is refused for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub.constants
import pytest
import yaml
from PIL import Image

from app.inference.errors import ModelNotFoundError
from app.inference.model_info import ModelInfo
from app.models.resolver import ModelResolver
from app.settings import Settings
from app.training.config import parse_yaml
from app.training.configurations import Configurations
from tests.printed_config import PRINTED, PRINTED_CHECKPOINT, adapt_printed


async def teach_examples(client: httpx.AsyncClient) -> None:
    for label, colour in (("red", (250, 0, 0)), ("blue", (0, 0, 250))):
        files = []
        for shade in range(3):
            buffer = io.BytesIO()
            Image.new("RGB", (32, 32), tuple(max(channel - 9 * shade, 0) for channel in colour)).save(
                buffer, "PNG"
            )
            files.append(("images", buffer.getvalue()))
        await client.post("/v1/collections/default/examples", data={"label": label}, files=files)


async def test_a_configuration_is_checked_before_anything_is_sent(client: httpx.AsyncClient) -> None:
    right = {"training_args": {"learning_type": "many_shot"}, "dataset": {"data_dir": "./images"}}
    reply = await client.post("/v1/configurations/check", json=right)
    assert (reply.status_code, reply.json()["dataset"]["data_dir"]) == (200, "./images")
    wrong = {
        "tpye": "image_classification",
        "training_args": {"learning_type": "many", "num_epochs": 0},
        "dataset": {"format": "folder"},
    }
    reply = await client.post("/v1/configurations/check", json=wrong)
    assert reply.status_code == 422
    for words in (
        "tpye: there is no such field",
        "learning_type: it must be 'one_shot', 'few_shot' or 'many_shot'",
        "num_epochs: it must be more than 0, not '0'",
        "dataset.format: it must be 'coco', 'custom', 'directory', 'jsonl', 'json', 'csv', 'voc', 'yolo' or 'auto'",
    ):
        assert words in reply.json()["detail"]
    schema = (await client.get("/v1/configurations/schema")).json()
    assert set(right) < set(schema["properties"])


async def test_the_printed_document_is_right_as_json_and_says_what_it_asks_for_in_vain(
    client: httpx.AsyncClient,
) -> None:
    document = yaml.safe_load(adapt_printed())
    reply = await client.post("/v1/configurations/check", json=document)
    assert reply.status_code == 200, reply.text
    assert reply.json()["base_model"] == document["base_model"]
    assert [note["field"] for note in reply.json()["warnings"]] == [
        "base_model.name",
        "vision_processor.image_size",
        "vision_processor.patch_size",
        "vision_processor.augmentations",
        "text_processor.padding",
    ]
    fitting = {"training_args": {"learning_type": "few_shot"}, "base_model": "clip"}
    reply = await client.post("/v1/configurations/check", json=fitting)
    assert (reply.status_code, reply.json()["warnings"]) == (200, [])


@pytest.mark.parametrize("path", ["/v1/configurations/check", "/v1/jobs"])
async def test_a_checkpoint_that_is_not_at_hand_is_refused_with_those_that_are(
    client: httpx.AsyncClient, path: str
) -> None:
    await teach_examples(client)
    document = yaml.safe_load(adapt_printed(PRINTED_CHECKPOINT))
    document["dataset"].pop("data_dir")
    document["evaluation"].pop("test_data_dir")
    reply = await client.post(path, json={"config": document} if path == "/v1/jobs" else document)
    assert (reply.status_code, reply.json()["type"].split(":")[-1]) == (404, "model_not_found")
    for words in (
        f"base_model.checkpoint: There is no model '{PRINTED_CHECKPOINT}' at hand",
        "llava-shapes",
        f"VISION_VLM={PRINTED_CHECKPOINT}",
    ):
        assert words in reply.json()["detail"]
    assert "clip-tiny" not in reply.json()["detail"], "an encoder is no vision-language model"


class _Registry:
    """A registry whose settings name a model of the hub, which is not here."""

    def list_models(self) -> list[ModelInfo]:
        there = ModelInfo("llava-1.5-7b-hf", "llava", (PRINTED_CHECKPOINT,), True, "vlm", ("caption", "vqa"))
        return [there, ModelInfo("llava-shapes", "llava", (), False, "vlm", ("caption", "vqa"))]


async def test_a_checkpoint_of_the_hub_is_fetched_with_the_job_or_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    config = parse_yaml(PRINTED)

    def configurations(*, allow_downloads: bool) -> Configurations:
        settings = Settings(data_dir=tmp_path, vlm=PRINTED_CHECKPOINT, allow_downloads=allow_downloads)
        models = ModelResolver(settings, _Registry(), None)  # type: ignore[arg-type]
        return Configurations(settings, models)

    fields = [note.field for note in await configurations(allow_downloads=True).check(config)]
    assert fields == ["vision_processor.augmentations", "text_processor.padding"]
    with pytest.raises(ModelNotFoundError, match=r"VISION_ALLOW_DOWNLOADS=true.*at hand are llava-shapes"):
        await configurations(allow_downloads=False).check(config)


async def test_steps_beside_a_document_stand_in_the_place_of_its_epochs(client: httpx.AsyncClient) -> None:
    await teach_examples(client)
    config = {"training_args": {"learning_type": "few_shot", "num_epochs": 3}, "base_model": "lite"}
    reply = await client.post("/v1/jobs", json={"config": config, "params": {"steps": 7}})
    assert reply.status_code == 202, reply.text
    assert (reply.json()["params"]["steps"], reply.json()["params"]["epochs"]) == (7, None)


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ({"checkpoint": "clip-tiny", "type": "vision_language"}, "an encoder, not a vision-language model"),
        ({"checkpoint": "llava-shapes", "type": "vision"}, "a vision-language model, not an encoder"),
        ({"checkpoint": "lite", "tpye": "vision"}, "base_model.tpye: there is no such field"),
    ],
)
async def test_a_base_model_of_another_kind_is_refused(
    client: httpx.AsyncClient, base: Any, words: str
) -> None:
    config = {"training_args": {"learning_type": "few_shot"}, "base_model": base}
    for reply in (
        await client.post("/v1/configurations/check", json=config),
        await client.post("/v1/jobs", json={"config": config}),
    ):
        assert reply.status_code == 422
        assert words in reply.json()["detail"]
        assert "(" not in reply.json()["detail"].split(":")[0], (
            "how the schema tells the two forms apart shows"
        )


async def test_a_vision_language_model_learns_answers_where_there_are_labels_too(
    client: httpx.AsyncClient,
) -> None:
    await teach_examples(client)
    buffer = io.BytesIO()
    for shade in range(4):
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32), (9 * shade, 200, 0)).save(buffer, "PNG")
        data = {"question": "what colour?", "answer": "green"}
        reply = await client.post(
            "/v1/collections/default/answers", data=data, files=[("image", buffer.getvalue())]
        )
        assert reply.is_success, reply.text
    config = {
        "training_args": {"learning_type": "few_shot", "num_epochs": 2, "num_examples": 3},
        "base_model": {"checkpoint": "llava-shapes", "type": "vision_language"},
        "vision_processor": {"patch_size": 32},
    }
    reply = await client.post("/v1/jobs", json={"config": config})
    assert reply.status_code == 202, reply.text
    job = reply.json()
    assert (job["task"], job["method"], job["base_model"]) == ("vqa", "lora", "llava-shapes")
    assert (job["params"]["epochs"], job["params"]["examples_per_label"]) == (2, 3)
    await client.post(f"/v1/jobs/{job['id']}/cancel")
    log = (await client.get(f"/v1/jobs/{job['id']}/events")).text
    assert log.count("vision_processor.patch_size: 'llava-shapes' cuts patches of 8 pixels") == 1


async def test_a_configuration_becomes_a_job(client: httpx.AsyncClient) -> None:
    await teach_examples(client)
    config = {
        "version": 1.0,
        "type": "image_classification",
        "base_model": "lite",
        "vision_processor": {"augmentations": ["rotation", "flip"]},
        "training_args": {"learning_type": "many_shot", "num_epochs": 2, "batch_size": 4, "warmup_steps": 3},
    }
    reply = await client.post("/v1/jobs", json={"config": config, "name": "by-config"})
    assert reply.status_code == 202, reply.text
    job = reply.json()
    assert (job["strategy"], job["method"], job["task"], job["base_model"]) == (
        None,
        "finetune",
        "classification",
        "lite",
    )
    wanted = {
        "epochs": 2,
        "batch_size": 4,
        "warmup_steps": 3,
        "augmentations": ["rotation", "flip"],
        "flip": True,
    }
    assert {name: job["params"][name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "strategy"),
        (
            {"strategy": "lite_fewshot", "config": {"training_args": {"learning_type": "few_shot"}}},
            "strategy",
        ),
        ({"config": {"training_args": {"learning_type": "lots"}}}, "learning_type"),
        (
            {"config": {"training_args": {"learning_type": "few_shot"}, "dataset": {"data_dir": "/etc"}}},
            "dataset.data_dir",
        ),
        ({"config": {"training_args": {"learning_type": "few_shot"}, "base_model": "/etc"}}, "There is no"),
        (
            {
                "config": {"training_args": {"learning_type": "many_shot"}},
                "params": {"offload_optimizer": True},
            },
            "set deepspeed to zero2",
        ),
        (
            {
                "config": {"training_args": {"learning_type": "many_shot", "extra": {"sharding": "fsdp"}}},
                "params": {"processes": 2, "deepspeed": "zero3"},
            },
            "sharding fsdp and deepspeed exclude each other",
        ),
    ],
)
async def test_what_a_configuration_is_refused_for(client: httpx.AsyncClient, body: Any, words: str) -> None:
    await teach_examples(client)
    reply = await client.post("/v1/jobs", json=body)
    assert reply.status_code in (404, 422)
    assert words in reply.text


async def test_a_request_is_checked_before_there_are_data(client: httpx.AsyncClient) -> None:
    few = {"learning_type": "few_shot"}
    right: list[dict[str, Any]] = [
        {"strategy": "lite_fewshot", "params": {"steps": 20, "metrics": ["f1"]}, "name": "new"},
        {"strategy": "custom_manyshot", "base_model": "llava"},
        {"strategy": "lite_oneshot"},
        {"config": {"training_args": few}, "params": {"steps": 20}, "base_model": "clip-tiny"},
        # data decide between an encoder's method and a vision-language model's, of which only one takes it
        {"config": {"training_args": {"learning_type": "one_shot"}}, "params": {"rank": 2}},
    ]
    for body in right:
        reply = await client.post("/v1/jobs/check", json=body)
        assert (reply.status_code, reply.content) == (204, b""), (body, reply.text)
    wrong: list[tuple[dict[str, Any], int, str]] = [
        ({"strategy": "none_such"}, 404, "none_such"),
        ({"strategy": "lite_fewshot", "base_model": "none-such"}, 404, "none-such"),
        ({"strategy": "lite_fewshot", "base_model": "clip-tiny"}, 422, "family 'lite'"),
        ({"strategy": "custom_manyshot", "base_model": "llava-shapes", "params": {"stepz": 1}}, 422, "stepz"),
        ({"strategy": "lite_fewshot", "params": {"metrics": ["good"]}}, 422, "'exact_match'"),
        ({"strategy": "lite_fewshot", "params": {"question": "what is it?"}}, 422, "question"),
        ({"strategy": "blip_vqa", "base_model": "blip-shapes-caption"}, 422, "blip-shapes-caption"),
        ({"strategy": "lite_fewshot", "name": "Not, a name"}, 422, "name"),
        ({"strategy": "lite_fewshot", "name": "lite"}, 409, "'lite'"),
        ({"config": {"training_args": few}, "params": {"metrics": ["good"]}}, 422, "'exact_match'"),
        ({"config": {"training_args": few}, "base_model": "none-such"}, 404, "none-such"),
        (
            {"config": {"training_args": few}, "base_model": "lite", "params": {"question": "what is it?"}},
            422,
            "question",
        ),
        ({"config": {"training_args": few, "base_model": "none-such"}}, 404, "none-such"),
    ]
    for body, status, says in wrong:
        reply = await client.post("/v1/jobs/check", json=body)
        assert reply.status_code == status, (body, reply.text)
        assert says in reply.json()["detail"]
    assert (await client.get("/v1/jobs")).json()["data"] == []
