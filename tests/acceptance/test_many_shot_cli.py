"""The four many-shot commands as the design writes them, against a real service with its worker."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests import shapes
from tests.live import Live, run, serving

pytestmark = pytest.mark.slow
COUNT = 90


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Live:  # type: ignore[misc]
    with serving(tmp_path_factory.mktemp("many-shot") / "data", VISION_WORKER="true") as live:
        yield live


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number, (_, shape) in sorted(shapes.shown().items())[:COUNT]:
        (folder / shape).mkdir(exist_ok=True)
        (folder / shape / f"{number}.png").write_bytes(shapes.data(number))
    (folder / "rectangle" / "broken.png").write_bytes(b"no image")
    return folder


def test_prepare_train_evaluate_export(working: Live, images: Path, tmp_path: Path) -> None:
    def vision(*words: str | Path) -> str:
        done = run(*words, timeout=300, VISION_SERVER=working.url)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    vision("manyshot", "prepare-dataset", "--data-dir", images, "--output", tmp_path / "processed")
    note = json.loads((tmp_path / "processed" / "dataset.json").read_text())
    assert (note["state"], note["task"], note["summary"]["examples"]) == ("ready", "classification", COUNT)
    assert "broken.png" in (tmp_path / "processed" / "report.jsonl").read_text()

    words = ["--epochs", "2", "--param", "augment=false", "--output-dir", tmp_path / "trained_model"]
    vision("manyshot", "train", "--dataset", tmp_path / "processed", "--model", "clip", *words)
    model = json.loads((tmp_path / "trained_model" / "vision.json").read_text())
    assert (model["method"], model["base_model"]) == ("finetune", "clip-tiny")

    figures = json.loads(
        vision(
            "manyshot",
            "evaluate",
            "--model",
            tmp_path / "trained_model",
            "--test-data",
            tmp_path / "processed",
            "--output",
            tmp_path / "judged",
            "--json",
        )
    )
    assert figures["accuracy"] > figures["chance"] + 0.3
    assert list((tmp_path / "judged").rglob("confusion.png"))

    vision(
        "manyshot",
        "export",
        "--model",
        tmp_path / "trained_model",
        "--format",
        "onnx",
        "--output",
        tmp_path / "exported",
    )
    assert (tmp_path / "exported" / "classifier.onnx").is_file()

    shown = vision(
        "oneshot", "classify", "--image", images / "circle", "--model", tmp_path / "trained_model", "--json"
    )
    rows = [row for row in json.loads(shown)["data"] if "error" not in row]
    assert sum(row["scores"][0]["label"] == "circle" for row in rows) > 0.8 * len(rows)


def test_a_configuration_file_trains(working: Live, images: Path, tmp_path: Path) -> None:
    config = tmp_path / "multimodal_config.yaml"
    config.write_text(
        "version: 1.0\n"
        "type: image_classification\n"
        "base_model: clip\n"
        "training_args: {learning_type: many_shot, num_epochs: 1, num_examples: 10, batch_size: 8}\n"
        f"dataset: {{format: directory, data_dir: {images}, split_ratio: [0.8, 0.1, 0.1]}}\n"
        f"evaluation: {{metrics: [accuracy], test_data_dir: {images}}}\n"
    )
    done = run("train", "--config", config, "--name", "by-config", timeout=300, VISION_SERVER=working.url)
    assert done.returncode == 0, done.stderr
    files = httpx.get(f"{working.url}/v1/models/by-config/artifacts").json()["data"]
    (judged,) = (one for one in files if Path(one["name"]).match("evaluations/*/evaluation.json"))
    figures = httpx.get(f"{working.url}{judged['url']}").json()
    assert (figures["examples"], figures["split"]) == (COUNT, "all")
    assert figures["accuracy"] > figures["chance"]
    assert "macro_f1" not in figures
    config.write_text("training_args: {learning_type: lots}\n")
    done = run("train", "--config", config, VISION_SERVER=working.url)
    assert done.returncode == 1
    assert "learning_type" in done.stderr
