"""Training from the command line alone: ten examples, one command, a model in a folder and in the service."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests import shapes
from tests.live import Live, run, serving

QUICK = ("--param", "steps=4", "--param", "augment=false")


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service with its worker, on a data folder of its own."""
    with serving(tmp_path_factory.mktemp("working") / "data", VISION_WORKER="true") as live:
        yield live


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures of each of two shapes, a folder a label."""
    folder = tmp_path_factory.mktemp("ten") / "two-shapes"
    for label in ("circle", "triangle"):
        (folder / label).mkdir(parents=True)
        numbers = [number for number, (_, shape) in sorted(shapes.list_shapes().items()) if shape == label]
        for number in numbers[:5]:
            (folder / label / f"{number}.png").write_bytes(shapes.data(number))
    return folder


@pytest.mark.slow
def test_ten_examples_become_a_model_in_a_folder(working: Live, ten: Path, tmp_path: Path) -> None:
    said = {"VISION_SERVER": working.url}
    assert run("oneshot", "learn", "--image", ten, **said).returncode == 0
    folder = tmp_path / "few_shot_model"
    began = time.monotonic()
    done = run("fewshot", "train", "--output-dir", folder, "--name", "two-shapes", *QUICK, **said)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 110
    note = json.loads((folder / "vision.json").read_text())
    assert (note["id"], note["kind"], sorted(note["labels"])) == (
        "two-shapes",
        "classifier",
        ["circle", "triangle"],
    )
    jobs = json.loads(run("jobs", "list", "--json", **said).stdout)["data"]
    assert [(job["state"], job["model"], job["strategy"]) for job in jobs] == [
        ("succeeded", "two-shapes", "lite_fewshot")
    ]
    shown = json.loads(run("jobs", "show", jobs[0]["id"], "--json", **said).stdout)
    assert {artifact["name"] for artifact in shown["artifacts"]} == {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    }
    assert shown["result"]["evaluation"]
    assert "two-shapes" in run("jobs", "show", jobs[0]["id"], **said).stdout
    # a folder that holds something is left alone
    again = run("fewshot", "train", "--output-dir", folder, *QUICK, **said)
    assert again.returncode == 2
    assert "--force" in again.stderr


@pytest.mark.slow
def test_one_picture_of_each_of_two_labels_becomes_a_model(
    working: Live, photos: Path, tmp_path: Path
) -> None:
    """The README's order: one cat, one coffee, then training."""
    said = {"VISION_SERVER": working.url}
    place = ("--collection", "pair")
    assert run("collections", "create", "pair", **said).returncode == 0
    for photo, label in (("chelsea", "cat"), ("coffee", "coffee")):
        words = ("--image", photos / f"{photo}.jpg", "--label", label, *place)
        assert run("oneshot", "learn", *words, **said).returncode == 0
    folder = tmp_path / "few_shot_model"
    done = run("fewshot", "train", "--output-dir", folder, *place, **said)
    assert done.returncode == 0, done.stderr
    assert "Very few examples of 'cat' (1), 'coffee' (1)" in done.stderr
    assert "not judged" in done.stderr
    shown = json.loads(
        run("oneshot", "classify", "--image", photos, "--model", folder, "--json", **said).stdout
    )
    labels = {Path(row["file"]).stem: row["label"] for row in shown["data"] if not row.get("rejected")}
    assert (labels["chelsea"], labels["coffee"]) == ("cat", "coffee")
    # what needs two of each says what does not, and in words for a command line
    asked = run("fewshot", "train", "--strategy", "prototypical_fewshot", *place, "--output-dir", "x", **said)
    assert asked.returncode == 1
    assert "siamese_oneshot" in asked.stderr
    only = run("fewshot", "train", "-c", "nothing-yet", "--output-dir", "x", **said)
    assert only.returncode == 1


@pytest.mark.slow
def test_a_folder_is_sent_and_its_job_followed_until_it_is_cancelled(working: Live, ten: Path) -> None:
    said = {"VISION_SERVER": working.url}
    words = ("train", "--strategy", "prototypical_fewshot", "--examples", ten, "--detach")
    asked = run(*words, "--param", "steps=1000000", "--param", "patience=0", **said)
    assert asked.returncode == 0, asked.stderr
    job = asked.stdout.strip()
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(run, "jobs", "follow", job, "--json", timeout=400, **said)
        with working.client() as client:
            deadline = time.monotonic() + 180
            while not client.get(f"/v1/jobs/{job}").json()["metrics"]:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert run("jobs", "cancel", job, **said).returncode == 0
        followed = following.result()
    assert followed.returncode == 1
    assert "cancelled" in followed.stderr
    events = [json.loads(line) for line in followed.stdout.splitlines()]
    assert [event["id"] for event in events] == sorted({event["id"] for event in events})
    states = [event["state"] for event in events if event["event"] == "state"]
    assert states == ["queued", "running", "cancelled"]
    assert any(event["event"] == "progress" and event["step"] for event in events)
    assert any(event["event"] == "metric" for event in events)


@pytest.mark.slow
def test_what_needs_no_training_is_learned_at_once(working: Live, photos: Path) -> None:
    said = {"VISION_SERVER": working.url}
    words = ("train", "--strategy", "clip_oneshot")
    done = run(*words, "--image", photos / "chelsea.jpg", "--label", "cat", **said)
    assert done.returncode == 0, done.stderr
    assert "needs no training" in done.stderr
    assert "cat" in run("oneshot", "list-examples", **said).stdout
    assert run(*words, **said).returncode == 2
    # there is no model to save; and a misspelt setting is told before anything is sent
    taught = ("--image", photos / "coffee.jpg", "--label", "coffee")
    assert "trains no model" in run(*words, *taught, "--output-dir", "x", **said).stderr
    wrong = run("train", "--strategy", "lite_fewshot", *taught, "-p", "stepz=3", **said)
    assert (wrong.returncode, "steps" in wrong.stderr) == (2, True)
    assert "coffee" not in run("oneshot", "list-examples", **said).stdout


METRICS = 'metrics=["accuracyy"]'
WRONG: list[tuple[str, list[str]]] = [
    ("manyshot train --dataset FOLDER -p " + METRICS, ["metrics", "'exact_match'"]),
    ("manyshot train --dataset FOLDER -p stepz=3", ["stepz", "There are"]),
    ("manyshot train --dataset FOLDER --model nowhere", ["There is no model 'nowhere'", "lite"]),
    ("manyshot train --dataset FOLDER --name Two,Shapes", ["name"]),
    ("train --strategy lite_fewshot --dataset FOLDER -p " + METRICS, ["metrics", "'exact_match'"]),
    ("train --strategy lite_fewshot --examples FOLDER -p rank=0", ["rank"]),
    ("train --strategy lite_fewshot --examples FOLDER --base-model nowhere", ["'nowhere'", "lite"]),
    ("train --strategy lite_fewshot --examples FOLDER --base-model clip-tiny", ["family 'lite'"]),
    ("train --strategy maml_fewshot --examples FOLDER --base-model llava-shapes", ["vision-language model"]),
    ("train --strategy nothing --examples FOLDER", ["'nothing'", "lite_fewshot"]),
    ("train --config CONFIG -p " + METRICS, ["metrics", "'exact_match'"]),
    ("train --config CONFIG --name Two,Shapes", ["name"]),
    ("manyshot evaluate --model lite --test-data FOLDER", ["no labels of its own"]),
    ("manyshot evaluate --model lite --test-data FOLDER --metric accuracyy", ["accuracyy", "exact_match"]),
    ("manyshot evaluate --model lite --test-data FOLDER --split tests", ["tests", "validation"]),
]


@pytest.mark.slow
def test_what_is_wrong_with_a_request_is_said_before_its_folder_is_sent(
    working: Live, ten: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"training_args: {{learning_type: few_shot}}\ndataset: {{data_dir: {ten}}}\n")
    places = {"FOLDER": str(ten), "CONFIG": str(config)}

    def kept() -> list[Any]:
        with working.client() as client:
            return [client.get(f"/v1/{what}").json()["data"] for what in ("datasets", "collections", "jobs")]

    before = kept()
    for line, said in WRONG:
        words = [places.get(word, word) for word in line.split()]
        if "train" in words and words[0] == "manyshot":
            words += ["--output-dir", str(tmp_path / "model")]
        done = CliRunner().invoke(app, words, env={"VISION_SERVER": working.url, "COLUMNS": "200"})
        assert done.exit_code in (1, 2), (line, done.output)
        assert all(part in done.output for part in said), (line, done.output)
    assert kept() == before
