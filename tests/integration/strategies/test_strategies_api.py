"""Strategies, and the preview of augmentation, over HTTP and on the command line."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI
from PIL import Image
from typer.testing import CliRunner, Result

from app.bootstrap import Services
from app.cli import app as cli
from app.strategies import Strategies
from tests import learning
from tests.conftest import ClientMaker
from tests.learning import get_json


async def get_recommendation(client: httpx.AsyncClient, **wanted: Any) -> dict[str, Any]:
    """The recommendation for `wanted`."""
    reply = await client.post("/v1/strategies/recommend", json=wanted)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def test_strategies_are_listed_and_shown_by_any_name(client: httpx.AsyncClient) -> None:
    listed = await get_json(client, "/v1/strategies")
    assert listed["refused"] == []
    assert listed["next"] is None
    for strategy in listed["data"]:
        for name in (strategy["name"], *strategy["aliases"]):
            assert await get_json(client, f"/v1/strategies/{name}") == strategy
    siamese = await get_json(client, "/v1/strategies/siamese_oneshot")
    assert siamese["params"]["loss"] == "triplet"
    assert siamese["defaults"]["batch_size"] == 32
    assert not siamese["own"]
    assert (await client.get("/v1/strategies/nothing")).status_code == 404


async def test_ones_own_are_listed_and_what_is_refused_beside_them(
    client: httpx.AsyncClient,
    address: str,
    services: Services,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = files("strategies").joinpath("siamese_oneshot.yaml").read_text()
    own = text.replace("name: siamese_oneshot", "name: parts").replace(
        "{family: default,", f"{{family: clip, checkpoint: {tmp_path},"
    )
    (tmp_path / "parts.yaml").write_text(own)
    (tmp_path / "wrong.yaml").write_text(text.replace("min: 2", "min: -2"))
    own_settings = services.settings.replace(strategies_dir=tmp_path)
    monkeypatch.setattr(services, "strategies", Strategies.load(own_settings))
    listed = await get_json(client, "/v1/strategies")
    parts = next(strategy for strategy in listed["data"] if strategy["name"] == "parts")
    assert parts["own"]
    assert parts["model"]["checkpoint"] == tmp_path.name  # a folder of this machine is nobody's business
    assert [file["file"] for file in listed["refused"]] == ["wrong.yaml"]
    assert re.match(r"wrong.yaml, line \d+: samples\.min: ", listed["refused"][0]["reason"])
    done = await vision(address, "strategies", "list")
    assert re.search(r"^parts \(yours\) ", done.stdout, re.M)
    assert "Refused: wrong.yaml, line" in done.stderr
    everything = await get_recommendation(client, task="classification")
    assert str(tmp_path) not in json.dumps(everything)
    reason = next(strategy["reason"] for strategy in everything["data"] if strategy["name"] == "parts")
    assert f"it uses the model '{tmp_path.name}'" in reason


async def test_the_schema_is_served(client: httpx.AsyncClient) -> None:
    schema = await get_json(client, "/v1/strategies/schema")
    assert {"name", "samples"} <= set(schema["$defs"]["Strategy"]["required"])


async def test_auto_is_the_machine_that_answers(client: httpx.AsyncClient) -> None:
    found = await get_recommendation(client, learning_type="few_shot", dataset_size=50, hardware="auto")
    machine = await get_json(client, "/v1/hardware")
    assert found["hardware"]["cores"] == machine["cpu"]["cores"]
    assert found["data"][0]["name"] == "lite_oneshot"
    everything = {strategy["name"] for strategy in (await get_json(client, "/v1/strategies"))["data"]}
    assert {strategy["name"] for strategy in found["data"] + found["left_out"]} == everything
    assert {strategy["name"] for strategy in machine["strategies"]} == everything
    fitting = {strategy["name"] for strategy in machine["strategies"] if strategy["fits"]}
    assert {strategy["name"] for strategy in found["data"]} <= fitting


async def test_a_named_machine_and_numbers_say_the_same(client: httpx.AsyncClient) -> None:
    named = await get_recommendation(client, task="vqa", dataset_size=20, hardware="A100_40GB")
    numbers = await get_recommendation(client, task="vqa", dataset_size=20, hardware=named["hardware"])
    assert numbers == named
    assert named["data"][0]["name"] == "llava_fewshot"
    assert "llava-hf/llava-1.5-13b-hf" in named["data"][0]["larger"]


async def test_without_a_task_each_task_has_its_own_answer(client: httpx.AsyncClient) -> None:
    found = await get_recommendation(client, learning_type="few_shot", dataset_size=50, hardware="mac-M2")
    groups = {group["task"]: [strategy["name"] for strategy in group["data"]] for group in found["groups"]}
    assert list(groups) == ["classification", "vqa", "caption"]
    assert groups["classification"][0] in ("lite_oneshot", "clip_oneshot")
    assert "llava_fewshot" in groups["vqa"]
    assert groups["caption"] == ["blip_caption"]
    assert sorted(name for names in groups.values() for name in names) == sorted(
        strategy["name"] for strategy in found["data"]
    )
    assert found["machine"]["memory_limit"] == "16 GB of memory"
    lite = next(strategy for strategy in found["data"] if strategy["name"] == "lite_oneshot")
    assert (lite["expected_time_s"], lite["expected_examples"]) == (0.625, 50)
    assert lite["expected_time_note"].startswith("Estimated from 0.05 s for each example")
    asked = await get_recommendation(client, task="caption", learning_type="one_shot")
    assert asked["groups"] == [{"task": "caption", "data": []}]


async def test_several_gpus_get_settings_that_a_job_takes(client: httpx.AsyncClient) -> None:
    found = await get_recommendation(
        client, learning_type="many_shot", dataset_size=5_000, task="classification", hardware="4x_a100_40gb"
    )
    best = found["data"][0]
    assert best["name"] == "custom_manyshot"
    assert best["params"] == {"processes": 4, "deepspeed": "zero2"}
    assert best["larger_params"]["openai/clip-vit-large-patch14"] == best["params"]


async def test_a_strategy_also_shows_the_words_of_one_in_short(client: httpx.AsyncClient) -> None:
    clip = await get_json(client, "/v1/strategies/clip_classification")
    assert (clip["model_type"], clip["learning_type"], clip["base_model"]) == ("clip", "one_shot", None)
    assert (clip["min_samples"], clip["max_samples"]) == (1, 2_000)
    assert clip["hardware_requirements"]["cpu_memory_gb"] == clip["hardware"]["cpu_memory_gb"]
    custom = await get_json(client, "/v1/strategies/custom_vision_training")
    assert custom["model_type"] == "custom"
    assert custom["learning_types"] == ["many_shot"]


async def test_nothing_fits_a_tiny_machine_and_each_reason_is_given(client: httpx.AsyncClient) -> None:
    found = await get_recommendation(client, hardware={"cpu_memory_gb": 0.5})
    assert found["data"] == []
    assert all("the machine has 0.5 GB" in strategy["reason"] for strategy in found["left_out"])


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"hardware": "abacus"}, "known are auto, raspberry_pi_5, laptop_cpu, mac_m2"),
        ({"hardware": {"gpus": 2}}, "how much memory each GPU has"),
        ({"hardware": {"gpu_memory_gb": -1}}, "gpu_memory_gb"),
        ({"hardware": {"gpu_memory_gb": "NaN"}}, "finite"),
        ({"hardware": {"tpus": 4}}, "tpus"),
        ({"hardware": 8}, "hardware"),
        ({"learning_type": "no_shot"}, "learning_type"),
        ({"dataset_size": 0}, "dataset_size"),
        ({"datasets": 5}, "datasets"),
    ],
)
async def test_a_wrong_wish_is_refused(client: httpx.AsyncClient, wanted: dict[str, Any], says: str) -> None:
    reply = await client.post("/v1/strategies/recommend", json=wanted)
    assert reply.status_code == 422
    assert says in reply.json()["detail"]


async def test_a_key_that_may_only_teach_does_not_look(make_client: ClientMaker) -> None:
    teacher = await make_client(scopes=["learn"])
    for path in ("/v1/strategies", "/v1/strategies/lite_oneshot", "/v1/strategies/schema"):
        assert (await teacher.get(path)).status_code == 403
    assert (await teacher.post("/v1/strategies/recommend", json={})).status_code == 403


@pytest_asyncio.fixture(loop_scope="session")
async def address(app: FastAPI, services: Services) -> AsyncIterator[str]:
    """Where the app listens for commands."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        if serving.done():
            serving.result()
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    with suppress(asyncio.CancelledError):
        await serving


async def vision(address: str, *words: str) -> Result:
    """What a command does."""
    return await asyncio.to_thread(CliRunner().invoke, cli, [*words, "--server", address])


async def test_the_command_line_lists_shows_and_recommends(address: str) -> None:
    listed = await vision(address, "strategies", "list")
    assert listed.exit_code == 0, listed.output
    assert re.search(
        r"^clip_fewshot_lora +few-shot +classification +clip +lora +2-5,000", listed.output, re.M
    )
    one = await vision(address, "strategies", "show", "clip_classification")
    assert re.search(r"^name +clip_oneshot *$", one.output, re.M)
    assert "openai/clip-vit-large-patch14 (4 GB of GPU memory, 6 GB of memory)" in one.output
    words = ["--learning-type", "few-shot", "--dataset-size", "50", "--hardware", "auto"]
    fitting = await vision(address, "strategies", "recommend", *words)
    assert re.search(r"^1 +lite_oneshot", fitting.output, re.M)
    assert re.search(r"^custom_manyshot +It is for many-shot", fitting.output, re.M)
    assert "Begin with lite_oneshot: vision train --strategy lite_oneshot --examples FOLDER" in fitting.output
    for title in ("Labels for images", "Answers to questions about images", "Descriptions of images"):
        assert re.search(rf"^{title} \(", fitting.output, re.M)
    gpus = await vision(address, "strategies", "recommend", "--hardware", "4x_A100_40GB")
    assert "4 GPUs of 40 GB" in gpus.output
    command = (
        "vision train --strategy custom_manyshot --dataset FOLDER --param processes=4 --param deepspeed=zero2"
    )
    assert f"custom_manyshot on all GPUs: {command}" in gpus.output
    unknown = await vision(address, "strategies", "recommend", "--hardware", "abacus")
    assert unknown.exit_code == 1
    assert "known are auto, raspberry_pi_5" in unknown.stderr
    numbers = await vision(address, "strategies", "recommend", "--cpu-memory-gb", "0.5", "--json")
    assert json.loads(numbers.stdout)["data"] == []


async def test_the_command_line_says_what_is_wrong(address: str) -> None:
    missing = await vision(address, "strategies", "show", "nothing")
    assert missing.exit_code == 1
    assert "There is no strategy 'nothing'" in missing.stderr
    both = await vision(address, "strategies", "recommend", "--hardware", "t4", "--gpus", "2")
    assert both.exit_code == 2


def sheet(data: bytes) -> Image.Image:
    """The picture in a PNG."""
    picture = Image.open(io.BytesIO(data), formats=["PNG"])
    picture.load()
    return picture


async def test_augmentation_is_previewed(client: httpx.AsyncClient) -> None:
    async def preview(**form: Any) -> bytes:
        reply = await client.post("/v1/augment", data=form, files={"image": learning.picture(3)})
        assert reply.status_code == 200, reply.text
        assert reply.headers["content-type"] == "image/png"
        return reply.content

    first = await preview(count=8, seed=1)
    assert await preview(count=8, seed=1) == first
    assert await preview(count=8, seed=2) != first
    assert sheet(await preview(count=30)).size > sheet(first).size
    same = np.asarray(sheet(await preview(count=1, rotation=0, brightness=0, noise=0, crop=0)))
    middle = same.shape[1] // 2
    # the left tile has a frame about it
    assert (same[20:100, 20:100] == same[20:100, middle + 17 : middle + 97]).all()


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"count": 0}, "count: it must be at least 1"),
        ({"count": 65}, "count: it must be at most 64"),
        ({"seed": -1}, "seed"),
        ({"rotation": 181}, "rotation: it must be at most 180"),
        ({"noise": "nan"}, "noise"),
        ({"flip": "perhaps"}, "flip"),
        ({"blur": 1}, "blur: there is no such field"),
    ],
)
async def test_a_wrong_preview_is_refused(client: httpx.AsyncClient, form: dict[str, Any], says: str) -> None:
    reply = await client.post("/v1/augment", data=form, files={"image": learning.picture(3)})
    assert reply.status_code == 422
    assert says in reply.json()["detail"]


async def test_a_preview_needs_one_image(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/augment", json={})).status_code == 422
    two = [("image", learning.picture(1)), ("image", learning.picture(2))]
    assert (await client.post("/v1/augment", files=two)).status_code == 422
    assert (await client.post("/v1/augment", files={"image": b"text"})).status_code == 422


async def test_the_command_line_writes_a_sheet(address: str, tmp_path: Path) -> None:
    image, written = tmp_path / "x.png", tmp_path / "sheet.png"
    image.write_bytes(learning.picture(3))
    words = ["augment", "preview", "--image", str(image), "--output", str(written)]
    done = await vision(address, *words, "--count", "8", "--flip")
    assert done.exit_code == 0, done.output
    assert sheet(written.read_bytes()).size[0] == 3 * 166 + 6
    refused = await vision(address, *words, "--rotation", "999")
    assert refused.exit_code == 1
    assert "rotation" in refused.stderr
    nowhere = await vision(address, *words[:-1], str(tmp_path / "nowhere" / "sheet.png"))
    assert nowhere.exit_code == 1
    assert "No such file" in nowhere.stderr
