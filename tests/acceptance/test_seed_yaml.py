"""The configuration as the product's description prints it, run by the command line against a real service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import shapes
from tests.live import Live, run, serving
from tests.printed_config import PRINTED_CHECKPOINT, adapt_printed

pytestmark = pytest.mark.slow
SHAPES = ("circle", "rectangle", "triangle")


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("seed") / "data", VISION_WORKER="true") as live:
        yield live


def coco(folder: Path, numbers: list[int], kind: str) -> None:
    """Images with an annotation file: `captions`, `questions` or `categories`."""
    (folder / "images").mkdir(parents=True)
    notes = []
    for number in numbers:
        (folder / "images" / f"{number}.png").write_bytes(shapes.data(number))
        colour, shape = shapes.list_shapes()[number]
        said = {
            "captions": {"caption": f"a {colour} {shape}"},
            "questions": {"question": "what colour is the shape?", "answer": colour},
            "categories": {"category_id": SHAPES.index(shape)},
        }[kind]
        notes.append({"id": number, "image_id": number, **said})
    document = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in numbers],
        "annotations": notes,
        "categories": [{"id": index, "name": name} for index, name in enumerate(SHAPES)],
    }
    (folder / "annotations.json").write_text(json.dumps(document))


def numbers(start: int, count: int) -> list[int]:
    return sorted(shapes.list_shapes())[start : start + count]


def write_config(folder: Path, text: str, kind: str) -> Path:
    coco(folder / "vision_data", numbers(0, 30), kind)
    coco(folder / "test_data", numbers(40, 8), kind)
    file = folder / "multimodal_config.yaml"
    file.write_text(text)
    return file


def test_the_printed_configuration_trains_a_model_that_captions(working: Live, tmp_path: Path) -> None:
    config = write_config(tmp_path, adapt_printed(), "captions")
    name = "by-captions"
    done = run("train", "--config", config, "--name", name, timeout=300, VISION_SERVER=working.url)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    for field in ("vision_processor.image_size", "vision_processor.patch_size", "text_processor.padding"):
        (said,) = (number for number, line in enumerate(lines) if line.startswith(f"{field}: "))
        assert said < min(number for number, line in enumerate(lines) if line.startswith("Sending"))
    assert "on 5 examples in 2 steps" in done.stderr
    for figure in ("accuracy", "f1", "bleu"):
        assert any(line.split()[:1] == [figure] for line in done.stdout.splitlines()), done.stdout
    job = next(
        job for job in httpx.get(f"{working.url}/v1/jobs", timeout=60).json()["data"] if job["model"] == name
    )
    assert (job["method"], job["base_model"], job["task"]) == (
        "lora",
        "llava-shapes",
        "caption",
    )
    log = httpx.get(f"{working.url}/v1/jobs/{job['id']}/events", timeout=60).text
    assert "vision_processor.patch_size: 'llava-shapes' cuts patches of 8 pixels" in log
    files = httpx.get(f"{working.url}/v1/models/{name}/artifacts", timeout=60).json()["data"]
    (judged,) = (file for file in files if Path(file["name"]).match("evaluations/*/evaluation.json"))
    figures = httpx.get(f"{working.url}{judged['url']}", timeout=60).json()
    assert (figures["examples"], figures["split"]) == (8, "all")
    assert figures["accuracy"] > figures["commonest"]

    number = numbers(60, 1)[0]
    colour = shapes.list_shapes()[number][0]
    done = run("caption", "--image", shapes.paths()[number], "--model", name, VISION_SERVER=working.url)
    assert done.returncode == 0, done.stderr
    assert colour in done.stdout


def test_a_checkpoint_that_is_not_at_hand_ends_the_command_before_anything_is_sent(
    working: Live, tmp_path: Path
) -> None:
    config = write_config(tmp_path, adapt_printed(PRINTED_CHECKPOINT), "captions")
    before = len(httpx.get(f"{working.url}/v1/datasets", timeout=60).json()["data"])
    done = run("train", "--config", config, VISION_SERVER=working.url)
    assert done.returncode == 1
    assert f"There is no model '{PRINTED_CHECKPOINT}' at hand" in done.stderr
    assert "llava-shapes" in done.stderr
    assert f"VISION_VLM={PRINTED_CHECKPOINT}" in done.stderr
    assert "Sending" not in done.stderr
    assert len(httpx.get(f"{working.url}/v1/datasets", timeout=60).json()["data"]) == before


def test_coco_categories_teach_an_encoder_that_a_folder_of_classes_judges(
    working: Live, tmp_path: Path
) -> None:
    text = adapt_printed("lite").replace('"vision_language"', '"image_classification"')
    config = write_config(tmp_path, text.replace('"few_shot"', '"one_shot"'), "categories")
    held_out = tmp_path / "held_out"
    for number in numbers(60, 12):
        folder = held_out / shapes.list_shapes()[number][1]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(shapes.data(number))
    config.write_text(config.read_text().replace("./test_data", "./held_out"))
    done = run("train", "--config", config, "--name", "by-classes", timeout=300, VISION_SERVER=working.url)
    assert done.returncode == 0, done.stderr
    assert "training_args.num_epochs: the method 'head'" in done.stderr
    assert "evaluation.metrics: bleu cannot be computed for labels" in done.stderr
    shown = dict(line.split()[:2] for line in done.stdout.splitlines() if line.strip())
    assert shown["examples"] == "12"
    assert float(shown["f1"]) > 0.4


def test_a_test_folder_that_cannot_judge_is_refused_before_training(working: Live, tmp_path: Path) -> None:
    config = write_config(tmp_path, adapt_printed(), "captions")
    coco(tmp_path / "other", numbers(40, 8), "questions")
    config.write_text(config.read_text().replace("./test_data", "./other"))
    before = len(httpx.get(f"{working.url}/v1/models", timeout=60).json()["data"])
    done = run("train", "--config", config, VISION_SERVER=working.url)
    assert done.returncode == 2
    assert "evaluation.test_data_dir teaches vqa and dataset.data_dir caption" in done.stderr
    assert len(httpx.get(f"{working.url}/v1/models", timeout=60).json()["data"]) == before
