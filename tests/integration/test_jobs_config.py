"""Jobs by a configuration instead of a strategy: what it becomes, and what it is refused for."""

from __future__ import annotations

import io
from typing import Any

import httpx
import pytest
from PIL import Image


async def taught(client: httpx.AsyncClient) -> None:
    for label, colour in (("red", (250, 0, 0)), ("blue", (0, 0, 250))):
        files = []
        for shade in range(3):
            buffer = io.BytesIO()
            Image.new("RGB", (32, 32), tuple(max(one - 9 * shade, 0) for one in colour)).save(buffer, "PNG")
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
        "dataset.format: it must be 'coco', 'custom', 'directory' or 'auto'",
    ):
        assert words in reply.json()["detail"]
    schema = (await client.get("/v1/configurations/schema")).json()
    assert set(right) < set(schema["properties"])


async def test_a_configuration_becomes_a_job(client: httpx.AsyncClient) -> None:
    await taught(client)
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
    ],
)
async def test_what_a_configuration_is_refused_for(client: httpx.AsyncClient, body: Any, words: str) -> None:
    await taught(client)
    reply = await client.post("/v1/jobs", json=body)
    assert reply.status_code in (404, 422)
    assert words in reply.text
