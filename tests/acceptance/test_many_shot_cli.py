"""The four many-shot commands as the design writes them, against a real service with its worker."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests import shapes
from tests.exported import predictions, say, say_all
from tests.live import Live, run, serving
from workers.exporting import answer

pytestmark = pytest.mark.slow
COUNT = 90


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Live:  # type: ignore[misc]
    folder = tmp_path_factory.mktemp("many-shot")
    with serving(folder / "data", VISION_WORKER="true", VISION_COMPARE_IMAGES="2000") as live:
        yield live


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number, (_, shape) in sorted(shapes.list_shapes().items())[:COUNT]:
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
    said = vision("manyshot", "train", "--dataset", tmp_path / "processed", "--model", "clip", *words)
    model = json.loads((tmp_path / "trained_model" / "vision.json").read_text())
    assert (model["method"], model["base_model"]) == ("finetune", "clip-tiny")
    compared = model["comparison"]
    assert (compared["evaluated_on"], compared["encoder"]) == ("test", "clip-tiny")
    assert compared["images"] == note["summary"]["splits"]["test"]
    assert compared["head"]["accuracy"] > compared["commonest"]
    # both know these drawings: nothing speaks for the one that takes training
    assert compared["use"] == "head"
    card = httpx.get(f"{working.url}/v1/models/{model['id']}", timeout=60).json()["trained"]
    assert card["comparison"] == compared
    for told in (said, vision("models", "show", model["id"])):
        assert f"on {compared['images']} held-out images" in told
        assert "closed-form head on clip-tiny" in told
        assert "Use the closed-form head" in told
        assert "vision datasets teach" in told
    assert compared["sentence"] in (tmp_path / "trained_model" / "README.md").read_text()

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
    assert not (tmp_path / "exported" / "text_encoder.onnx").exists()
    shown = json.loads(
        vision("oneshot", "classify", "--image", images / "circle", "--model", model["id"], "--json")
    )["data"]
    paths = sorted((images / "circle").iterdir())[:5]
    served = {Path(row["file"]).name: row for row in shown}
    # the service may run an engine of less precision: the export says how far its own scores are from that
    apart = json.loads((tmp_path / "exported" / "export.json").read_text())["service"]["max_difference"]
    assert apart < 0.1
    for path, (label, score) in zip(paths, predictions(tmp_path / "exported", paths), strict=True):
        assert label == (served[path.name]["label"] or "none of the labels")
        assert float(score) == pytest.approx(served[path.name]["scores"][0]["score"], abs=apart + 0.001)

    shown = vision(
        "oneshot", "classify", "--image", images / "circle", "--model", tmp_path / "trained_model", "--json"
    )
    rows = [row for row in json.loads(shown)["data"] if "error" not in row]
    assert sum(row["scores"][0]["label"] == "circle" for row in rows) > 0.8 * len(rows)


@pytest.mark.parametrize(
    ("sides", "says"),
    [
        ({"test": ("circle", "triangle")}, "holds out all 6 (test 6)"),
        (
            {"train": ("circle", "triangle"), "val": ("rectangle",)},
            "no example of 'rectangle' (validation 3)",
        ),
    ],
)
def test_a_split_that_teaches_nothing_is_refused_by_name(
    working: Live, images: Path, tmp_path: Path, sides: dict[str, tuple[str, ...]], says: str
) -> None:
    data = tmp_path / "data"
    for side, labels in sides.items():
        for label in labels:
            (data / side / label).mkdir(parents=True)
            for path in sorted((images / label).glob("[0-9]*.png"))[:3]:
                shutil.copy(path, data / side / label)
    config = tmp_path / "config.yaml"
    config.write_text(f"training_args: {{learning_type: few_shot}}\ndataset: {{data_dir: {data}}}\n")
    before = httpx.get(f"{working.url}/v1/jobs", params={"limit": 100}, timeout=60).json()["data"]
    ways: list[list[str | Path]] = [["train", "--config", config]]
    if "train" not in sides:
        ways = [
            ["manyshot", "train", "--dataset", data, "--output-dir", tmp_path / "model"],
            ["train", "--strategy", "siamese_oneshot", "--dataset", data],
        ]
    for words in ways:
        done = run(*words, VISION_SERVER=working.url)
        assert done.returncode == 1, words
        assert says in done.stderr, words
    after = httpx.get(f"{working.url}/v1/jobs", params={"limit": 100}, timeout=60).json()["data"]
    assert {job["kind"] for job in after[: len(after) - len(before)]} == {"prepare"}


def test_a_model_that_answers_leaves_with_its_runner(working: Live, tmp_path: Path) -> None:
    words = ["manyshot", "export", "--model", "llava-shapes", "--format", "onnx"]
    folder = tmp_path / "exported_model"
    done = run(*words, "--output", folder, timeout=300, VISION_SERVER=working.url)
    assert done.returncode == 0, done.stderr
    report = json.loads((folder / "export.json").read_text())
    assert (report["answers"]["same"], report["files"]["decoder.onnx"]["top1"]) == (1, 1)
    number, question = next(iter(shapes.list_shapes())), "what color is the shape?"
    image = shapes.paths()[number]
    asked = run("ask", "--image", image, "--model", "llava-shapes", question, VISION_SERVER=working.url)
    assert asked.stdout.strip() == say(folder, image, question) == shapes.list_shapes()[number][0]
    questions = [(shapes.paths()[number], text) for text, _, number in shapes.questions()[:12]]
    with working.client() as client:
        served = [
            client.post(
                "/v1/vqa",
                data={"model": "llava-shapes", "question": text},
                files={"image": path.read_bytes()},
            ).json()["answer"]
            for path, text in questions
        ]
    assert say_all(folder, questions) == served

    # prompts of two lengths in one batch, the shorter one padded on the left, go on as they do alone
    model = answer.Model(folder)
    prompts = [model.read_prompt(text) for text in ("red?", "what color is the shape in the image?")]
    longest = max(map(len, prompts))
    ids = np.array([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = np.array([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    together = next_logits(model, ids, mask)
    for row, prompt in enumerate(prompts):
        alone = next_logits(model, np.array([prompt]), np.ones((1, len(prompt)), np.int64))
        assert together[row] == pytest.approx(alone[0], abs=1e-4)


def next_logits(model: answer.Model, ids: Any, mask: Any) -> Any:
    """float32[n, vocabulary] after prompts of text alone."""
    values = {**model.run("embed_tokens", {"input_ids": ids}), "attention_mask": mask}
    for past in model.graphs["decoder"].get_inputs():
        if past.name.startswith("past_key_values."):
            values[past.name] = np.zeros((len(ids), past.shape[1], 0, past.shape[3]), np.float32)
    return model.run("decoder", values)["logits"][:, -1]


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
    files = httpx.get(f"{working.url}/v1/models/by-config/artifacts", timeout=60).json()["data"]
    (judged,) = (file for file in files if Path(file["name"]).match("evaluations/*/evaluation.json"))
    figures = httpx.get(f"{working.url}{judged['url']}", timeout=60).json()
    assert (figures["examples"], figures["split"]) == (COUNT, "all")
    assert figures["accuracy"] > figures["chance"]
    assert "macro_f1" not in figures
    config.write_text("training_args: {learning_type: lots}\n")
    done = run("train", "--config", config, VISION_SERVER=working.url)
    assert done.returncode == 1
    assert "learning_type" in done.stderr
