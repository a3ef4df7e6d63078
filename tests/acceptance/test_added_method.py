"""The training method of CONTRIBUTING.md's checklist in a running service: a strategy of one's own trains by it.

The service runs from a copy of the code with the method in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import shapes
from tests.checklists import copy_project, follow, read_checklists, write_command
from tests.live import Live, run, serving

pytestmark = pytest.mark.slow
STRATEGY = """
description: Pulls examples of a label together.
learning_types: [few_shot]
task: classification
model: {family: default, kind: encoder}
method: pull
params: {dim: 8}
samples: {min: 4, best: 10, max: 100}
hardware: {cpu_memory_gb: 2}
strengths: [It is new.]
use_cases: [Trying out.]
name: pulled
"""


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service with its worker that knows the method `pull`."""
    tree = tmp_path_factory.mktemp("tree")
    copy_project(tree)
    follow(read_checklists()["Add a training method"], tree)
    own = tree / "own"
    own.mkdir()
    (own / "pulled.yaml").write_text(STRATEGY)
    (own / "wrong.yaml").write_text(STRATEGY.replace("pulled", "wrong").replace("dim: 8", "dim: 4"))
    data = tmp_path_factory.mktemp("added") / "data"
    extra = {"PYTHONPATH": str(tree), "VISION_STRATEGIES_DIR": str(own), "VISION_WORKER": "true"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.live.VISION", str(write_command(tree)))
        with serving(data, **extra) as live:
            yield live


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of each of two shapes, a folder a label."""
    folder = tmp_path_factory.mktemp("ten") / "two-shapes"
    for label in ("circle", "triangle"):
        (folder / label).mkdir(parents=True)
        numbers = [number for number, (_, shape) in sorted(shapes.list_shapes().items()) if shape == label]
        for number in numbers[:5]:
            (folder / label / f"{number}.png").write_bytes(shapes.data(number))
    return folder


def test_the_service_knows_the_method_and_its_parameters(working: Live) -> None:
    with working.client() as client:
        document = client.get("/openapi.json").json()
        assert "pull" in json.dumps(
            document["components"]["schemas"]["TrainingArguments"]["properties"]["method"]
        )
        rules = client.get("/v1/strategies/schema").json()["$defs"]["Strategy"]["allOf"]
        assert (
            rules[-1]["if"]["properties"]["method"]["const"] == "pull"
        )  # after those with a place of their own
        shown = client.get("/v1/strategies/pulled").json()
        assert (shown["method"], shown["params"], shown["defaults"]["steps"]) == ("pull", {"dim": 8}, 30)
        refused = client.get("/v1/strategies").json()["refused"]
        assert [file["file"] for file in refused] == ["wrong.yaml"]
        assert "params.dim: it must be at least 8" in refused[0]["reason"]


def test_examples_become_a_model_by_the_method(working: Live, ten: Path, tmp_path: Path) -> None:
    said = {"VISION_SERVER": working.url}
    words = ("train", "--strategy", "pulled", "--examples", ten, "--name", "pulled-shapes")
    wrong = run(*words, "--output-dir", tmp_path / "wrong", "--param", "steps=10001", **said)
    assert wrong.returncode != 0
    assert "--param steps: it must be at most 10000" in wrong.stderr
    folder = tmp_path / "model"
    done = run(*words, "--output-dir", folder, "--param", "steps=2", "--param", "augment=false", **said)
    assert done.returncode == 0, done.stderr
    note = json.loads((folder / "vision.json").read_text())
    assert (note["method"], note["labels"]) == ("pull", ["circle", "triangle"])
    image = next((ten / "circle").iterdir())
    with working.client() as client:
        files = {"image": image.read_bytes()}
        known = client.post("/v1/classify", files=files, data={"model": "pulled-shapes"})
        assert known.status_code == 200, known.text
        assert {score["label"] for score in known.json()["scores"]} == {"circle", "triangle"}


def test_a_configuration_names_the_method(working: Live) -> None:
    arguments = {"learning_type": "few_shot", "method": "pull", "extra": {"steps": 20000}}
    config = {"type": "image_classification", "base_model": "lite", "training_args": arguments}
    with working.client() as client:
        wrong = client.post("/v1/configurations/check", json=config)
        assert wrong.status_code == 422
        assert "params.steps: it must be at most 10000" in wrong.json()["detail"]
        arguments["extra"] = {"steps": 6}
        right = client.post("/v1/configurations/check", json=config)
        assert right.status_code == 200, right.text
