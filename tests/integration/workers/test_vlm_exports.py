"""A vision-language model as ONNX graphs: its runner, without torch at hand, says what the service says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.bootstrap import Services
from tests import shapes
from tests.exported import say, say_all
from tests.integration.families.test_vlm_formats import save_smolvlm
from tests.integration.models.test_model_jobs import run_model_job
from tests.integration.models.test_model_uploads import send_model
from tests.working import run_job
from workers.exporting import answer

pytestmark = pytest.mark.slow


async def export_model(
    client: httpx.AsyncClient, services: Services, model: str, folder: Path
) -> dict[str, Any]:
    """An export's files in `folder`, and its report, which says that all of it agreed."""
    job = await run_model_job(client, services, f"/v1/models/{model}/export", {"format": "onnx"})
    for file in (await client.get(f"/v1/jobs/{job['id']}/artifacts")).json()["data"]:
        path = folder / file["name"].removeprefix("exports/onnx/")
        path.write_bytes((await client.get(file["url"])).content)
    report: dict[str, Any] = job["result"]["export"]
    assert json.loads((folder / "export.json").read_text()) == report
    assert all(found["least_cosine"] > 0.9999 for found in report["files"].values())
    assert report["files"]["decoder.onnx"]["top1"] == 1
    assert report["answers"]["same"] == 1
    return report


async def test_blip_reads_a_question_and_answers_it(
    client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    report = await export_model(client, services, "blip-shapes-vqa", tmp_path)
    graphs = ("vision_tower.onnx", "question_encoder.onnx", "projector.onnx", "decoder.onnx")
    assert set(report["files"]) == set(graphs)
    card = (tmp_path / "README.md").read_text()
    assert [line[4:] for line in card.splitlines() if line.startswith("### ")] == list(graphs)
    assert "- past_key_values.0.key: float32 [batch, 4, past_sequence, 32]" in card

    questions = shapes.questions()[:12]
    said = say_all(tmp_path, [(shapes.paths()[number], question) for question, _, number in questions])
    for (question, right, number), text in zip(questions, said, strict=True):
        form = {"model": "blip-shapes-vqa", "question": question}
        served = await client.post("/v1/vqa", data=form, files={"image": shapes.data(number)})
        assert (text, text) == (served.json()["answer"], right)
    assert "usage" in say(tmp_path, shapes.paths()[0], code=1)
    for missing in (tmp_path / "nowhere.png", tmp_path / "README.md"):
        said_of_it = say(tmp_path, missing, "what is it?", code=1)
        assert "cannot be read as an image" in said_of_it
        assert "Traceback" not in said_of_it

    # a shorter question beside a longer one is read as it is alone
    model = answer.Model(tmp_path)
    pixels = model.read_pixels(shapes.image(0))
    features = model.run("vision_tower", {"pixel_values": pixels})["image_features"]
    short, long = (model.read_prompt(text) for text in ("red?", "what color is the shape in the image?"))
    rows = np.zeros((2, len(long)), np.int64)
    mask = np.zeros_like(rows)
    for row, ids in enumerate((short, long)):
        rows[row, : len(ids)], mask[row, : len(ids)] = ids, 1
    both = {"input_ids": rows, "attention_mask": mask, "image_features": features.repeat(2, axis=0)}
    alone = {"input_ids": np.array([short]), "attention_mask": mask[:1, : len(short)]}
    together = model.run("question_encoder", both)["question_features"][0, : len(short)]
    by_itself = model.run("question_encoder", {**alone, "image_features": features})["question_features"][0]
    assert together == pytest.approx(by_itself, abs=1e-4)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_who_cannot_says_which_part_and_what_to_do_instead(
    client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    save_smolvlm(tmp_path)
    note = {
        "format": 1,
        "id": "tiles",
        "kind": "vlm",
        "task": "vqa",
        "method": "finetune",
        "family": "flamingo",
    }
    note |= {"base_model": "HuggingFaceTB/SmolVLM", "base_fingerprint": "0", "tasks": ["vqa"]}
    made = await send_model(client, {**contents(tmp_path), "vision.json": json.dumps(note).encode()})
    assert made.status_code == 201, made.text
    reply = await client.post("/v1/models/tiles/export", json={"format": "onnx"})
    job = await run_job(services, client, reply.json()["id"])
    assert job["state"] == "failed"
    reason = job["error"]["detail"]
    assert "The vision tower of 'tiles' cannot be written as ONNX" in reason
    assert "tiles" in reason
    assert "--format safetensors" in reason
    weights = await run_model_job(client, services, "/v1/models/tiles/export", {"format": "safetensors"})
    assert "model.safetensors" in weights["result"]["export"]["files"]
