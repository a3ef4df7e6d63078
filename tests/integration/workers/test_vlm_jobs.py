"""Vision-language models on a dataset, from its archive to files for other programs: trained, judged, exported."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import transformers

from app.bootstrap import Services
from app.inference.domain import read_domain
from tests import shapes
from tests.exported import say, say_all
from tests.integration.models.test_model_jobs import run_model_job
from tests.integration.workers.test_vlm_exports import export_model
from tests.working import run_job
from workers.methods.common.vlm.answering import JUDGED_BY

pytestmark = pytest.mark.slow
QUESTION = "tell me the tint"
PARAMS = {"batch_size": 8, "evaluate_every": 6, "checkpoint_every": 6, "augment": False}
SPLITS = ("train", "train", "train", "test")
COUNT = 64


def archive(task: str) -> bytes:
    """easy-VQA images as JSON lines: a wording that no checkpoint was taught, or captions of a style of their own."""
    buffer = io.BytesIO()
    lines = []
    with zipfile.ZipFile(buffer, "w") as made:
        for place, (number, (colour, shape)) in enumerate(sorted(shapes.list_shapes().items())[:COUNT]):
            texts = {"question": QUESTION, "answer": colour} if task == "vqa" else {"caption": f"a {shape}"}
            lines.append(json.dumps({"image": f"{number}.png", "split": SPLITS[place % 4], **texts}))
            made.writestr(f"{number}.png", shapes.data(number))
        made.writestr("rows.jsonl", "\n".join(lines))
    return buffer.getvalue()


async def prepare_dataset(client: httpx.AsyncClient, services: Services, task: str) -> str:
    made = (await client.post("/v1/datasets", files={"archive": archive(task)})).json()
    job = await run_job(services, client, made["job"])
    assert job["state"] == "succeeded", job["error"]
    assert (await client.get(f"/v1/datasets/{made['id']}")).json()["task"] == task
    return str(made["id"])


async def run_training(client: httpx.AsyncClient, services: Services, body: dict[str, Any]) -> dict[str, Any]:
    """A many-shot job by a configuration, carried out."""
    config = {
        "training_args": {"learning_type": "many_shot", "num_epochs": 2},
        "base_model": body.pop("base"),
        "evaluation": {"metrics": body.pop("metrics", None)},
    }
    found = await run_model_job(client, services, "/v1/jobs", {"config": config, **body})
    assert found["method"] == "finetune"
    return found


async def test_adapters_of_idefics_are_judged_and_leave_as_one_checkpoint(
    client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    data = await prepare_dataset(client, services, "vqa")
    judged = {"dataset": data, "split": "test"}
    params = {**PARAMS, "learning_rate": 3e-3, "lora": {"rank": 8}}
    wanted = {"base": "flamingo-shapes", "dataset": data, "params": params, "name": "tints"}
    trained = await run_training(client, services, wanted)
    after = (await run_model_job(client, services, "/v1/models/tints/evaluate", judged))["result"][
        "evaluation"
    ]
    assert after["exact_match"] > trained["result"]["evaluation"]["before"]["exact_match"] + 0.3
    assert after["exact_match"] == pytest.approx(trained["metrics"]["exact_match"], abs=0.07)
    assert after["bleu"] > 0
    files = {artifact["name"] for artifact in (await client.get("/v1/models/tints/artifacts")).json()["data"]}
    assert {Path(file).name for file in files} >= {"evaluation.json", "mistakes.png", "curves.png"}

    await run_model_job(client, services, "/v1/models/tints/export", {"format": "safetensors"})
    folder = tmp_path / "tints"
    folder.mkdir()
    for artifact in (await client.get("/v1/models/tints/artifacts")).json()["data"]:
        if artifact["name"].startswith("exports/safetensors/"):
            (folder / Path(artifact["name"]).name).write_bytes((await client.get(artifact["url"])).content)
    assert "`flamingo-shapes`" in (folder / "README.md").read_text()
    domain = read_domain(folder)  # what it knows goes along
    assert domain is not None
    assert "that it was trained with" in domain.knows
    model = transformers.IdeficsForVisionText2Text.from_pretrained(folder, local_files_only=True).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
    numbers = sorted(shapes.list_shapes())[COUNT : COUNT + 12]
    said = []
    for number in numbers:
        text = [[shapes.image(number), f"Question: {QUESTION} Answer:"]]
        inputs = processor(text=text, return_tensors="pt", add_end_of_utterance_token=False)
        found = model.generate(**inputs, max_new_tokens=4, do_sample=False)[:, inputs["input_ids"].shape[1] :]
        said.append(processor.batch_decode(found, skip_special_tokens=True)[0].split("\n")[0].strip())
    served = []
    for number in numbers:
        form = {"question": QUESTION, "model": "tints"}
        reply = await client.post("/v1/vqa", data=form, files={"image": shapes.data(number)})
        served.append(reply.json()["answer"])
    assert said == served
    graphs = tmp_path / "graphs"
    graphs.mkdir()
    report = await export_model(client, services, "tints", graphs)
    assert report["trained_on"], "compared on what it learned from"
    assert say_all(graphs, [(shapes.paths()[number], QUESTION) for number in numbers]) == served
    assert (
        sum(text == shapes.list_shapes()[number][0] for text, number in zip(said, numbers, strict=True)) >= 8
    )


async def test_a_strategy_for_labels_trains_a_vision_language_model_that_is_judged_by_them(
    client: httpx.AsyncClient, services: Services
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for number, (_, shape) in sorted(shapes.list_shapes().items())[:COUNT]:
            made.writestr(f"{shape}/{number}.png", shapes.data(number))
    data = (await client.post("/v1/datasets", files={"archive": buffer.getvalue()})).json()
    assert (await run_job(services, client, data["job"]))["state"] == "succeeded"
    wanted = {
        "strategy": "custom_manyshot",
        "base_model": "blip",
        "dataset": data["id"],
        "params": {**PARAMS, "epochs": 1, "question": "which form?"},
        "name": "forms",
    }
    trained = await run_model_job(client, services, "/v1/jobs", wanted)
    assert (trained["task"], trained["base_model"]) == ("classification", "blip-shapes-vqa")
    assert trained["params"]["question"] == "which form?"
    job = await run_model_job(client, services, "/v1/models/forms/evaluate", {"dataset": data["id"]})
    figures = job["result"]["evaluation"]
    assert figures["accuracy"] == pytest.approx(trained["metrics"]["accuracy"], abs=0.01)
    assert figures["confusion"]["labels"] == ["circle", "rectangle", "triangle"]
    assert (figures["question"], figures["judged_by"]) == ("which form?", JUDGED_BY)
    files = {artifact["name"] for artifact in (await client.get("/v1/models/forms/artifacts")).json()["data"]}
    assert {Path(file).name for file in files} >= {"confusion.png", "reliability.png", "mistakes.png"}
    form = {"question": "which form?", "model": "forms"}
    reply = await client.post("/v1/vqa", data=form, files={"image": shapes.data(0)})
    assert reply.json()["answer"]


async def test_blip_learns_a_style_of_captions(
    client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    data = await prepare_dataset(client, services, "caption")
    wanted = {
        "base": "blip-shapes-caption",
        "dataset": data,
        "params": {**PARAMS, "learning_rate": 1e-3},
        "name": "plain",
        "metrics": ["exact_match"],
    }
    trained = await run_training(client, services, wanted)
    assert trained["task"] == "caption"
    figures = trained["result"]["evaluation"]
    assert figures["exact_match"] > figures["commonest"] + 0.2
    assert "bleu" not in figures
    await export_model(client, services, "plain", tmp_path)
    numbers = sorted(shapes.list_shapes())[COUNT : COUNT + 6]
    said = say_all(tmp_path, [(shapes.paths()[number], None) for number in numbers])
    for number, text in zip(numbers, said, strict=True):
        image = {"image": shapes.data(number)}
        reply = await client.post("/v1/caption", data={"model": "plain"}, files=image)
        assert reply.json()["caption"] == text
        assert text.startswith("a ")
    assert "no question" in say(tmp_path, shapes.paths()[0], "what is it?", code=1)


async def test_what_learned_a_collections_labels_is_exported_on_its_images(
    client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    for number, (_, shape) in sorted(shapes.list_shapes().items())[:12]:
        await client.post(
            "/v1/collections/default/examples", data={"label": shape}, files={"image": shapes.data(number)}
        )
    wanted = {
        "strategy": "blip_vqa",
        "collection": "default",
        "params": {"steps": 1, "augment": False},
        "name": "figures",
    }
    await run_model_job(client, services, "/v1/jobs", wanted)
    report = await export_model(client, services, "figures", tmp_path)
    assert report["trained_on"], "its examples are labels, whatever the model answers"
