"""Vision-language models as ONNX graphs: their runner, without torch at hand, says what the service says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest

from app.services import Services
from tests import shapes
from tests.integration.test_model_jobs import asked

pytestmark = pytest.mark.slow
WITHOUT_TORCH = """
import runpy, sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "app", "workers", "peft"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Nothing())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""What may import nothing of what the model was trained and is served with."""


def say(folder: Path, *words: str | Path) -> str:
    """What the exported runner answers."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_TORCH, str(folder / "answer.py"), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder.parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def exported(client: httpx.AsyncClient, services: Services, model: str, folder: Path) -> dict[str, Any]:
    """The files of an export in `folder`, and its report."""
    job = await asked(client, services, f"/v1/models/{model}/export", {"format": "onnx"})
    folder.mkdir()
    for file in (await client.get(f"/v1/jobs/{job['id']}/artifacts")).json()["data"]:
        path = folder / file["name"].removeprefix("exports/onnx/")
        path.write_bytes((await client.get(file["url"])).content)
    assert json.loads((folder / "export.json").read_text()) == job["result"]["export"]
    report: dict[str, Any] = job["result"]["export"]
    assert all(found["least_cosine"] > 0.999 for found in report["files"].values())
    assert report["answers"]["same"] == 1
    return report


async def serve(client: httpx.AsyncClient, model: str, number: int, question: str | None) -> str:
    path, form = ("vqa", {"question": question}) if question else ("caption", {})
    reply = await client.post(
        f"/v1/{path}", data={**form, "model": model}, files={"image": shapes.data(number)}
    )
    assert reply.status_code == 200, reply.text
    found = reply.json()
    return str(found["answer"] if question else found["caption"])


@pytest.mark.parametrize(
    ("model", "graphs"),
    [
        ("llava-shapes", {"vision_tower", "projector", "embed_tokens", "decoder"}),
        ("blip-shapes-vqa", {"vision_tower", "question_encoder", "projector", "decoder"}),
    ],
)
async def test_the_runner_answers_as_the_service(
    client: httpx.AsyncClient, services: Services, tmp_path: Path, model: str, graphs: set[str]
) -> None:
    folder = tmp_path / "exported_model"
    report = await exported(client, services, model, folder)
    assert set(report["files"]) == {f"{name}.onnx" for name in graphs}
    card = (folder / "README.md").read_text()
    assert all(f"{name}.onnx" in card for name in graphs)
    assert "past_key_values.0.key: float [batch, 4, past_sequence, 32]" in card
    for question, right, number in shapes.questions()[:6]:
        said = say(folder, shapes.paths()[number], question)
        assert said == await serve(client, model, number, question)
        assert said == right
