"""A training method that is added as a contributor adds one: a module of parameters and a folder of code, no more.

The service runs from a copy of the code with the method in it; a strategy of one's own uses it.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import shapes
from tests.live import Live, run, serving

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]

PARAMETERS = '''
from pydantic import Field

from app.methods.method import Method
from app.methods.params import Params


class PullParams(Params):
    """A projection that pulls the examples of a label together."""

    steps: int = Field(3, ge=1, le=50, description="Steps.")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="AdamW's.")
    dim: int = Field(16, ge=8, le=64, description="Size of the embedding.")


METHOD = Method(
    PullParams,
    learns={"encoder": frozenset({"classification"})},
    trains="a projection",
    meant_for="this test",
)
'''
CODE = """
import numpy as np
import torch

from workers.methods.common.on_features import FeatureMethod


class Pull(FeatureMethod):
    def loss(self, step: int) -> torch.Tensor:
        z = self.net(self.shown(np.arange(len(self.y))))
        means = torch.stack([z[self.y == label].mean(dim=0) for label in np.unique(self.y)])
        return (z - means[self.y]).square().sum(dim=-1).mean()


METHOD = Pull
"""
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
    for package in ("app", "workers"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "app/methods/pull.py").write_text(PARAMETERS)
    code = tree / "workers/methods/pull"
    code.mkdir()
    (code / "__init__.py").write_text("")
    (code / "method.py").write_text(CODE)
    own = tree / "own"
    own.mkdir()
    (own / "pulled.yaml").write_text(STRATEGY)
    (own / "wrong.yaml").write_text(STRATEGY.replace("pulled", "wrong").replace("dim: 8", "dim: 4"))
    data = tmp_path_factory.mktemp("added") / "data"
    # the command of the copy, whose children find it by PYTHONPATH
    command = tree / "vision"
    command.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(tree)!r})\n"
        "from app.cli import main\nsys.exit(main())\n"
    )
    command.chmod(0o755)
    extra = {"PYTHONPATH": str(tree), "VISION_STRATEGIES_DIR": str(own), "VISION_WORKER": "true"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.live.VISION", str(command))
        with serving(data, **extra) as live:
            yield live


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of each of two shapes, a folder a label."""
    folder = tmp_path_factory.mktemp("ten") / "two-shapes"
    for label in ("circle", "triangle"):
        (folder / label).mkdir(parents=True)
        numbers = [number for number, (_, shape) in sorted(shapes.shown().items()) if shape == label]
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
        assert (shown["method"], shown["params"], shown["defaults"]["steps"]) == ("pull", {"dim": 8}, 3)
        refused = client.get("/v1/strategies").json()["refused"]
        assert [file["file"] for file in refused] == ["wrong.yaml"]
        assert "params.dim: it must be at least 8" in refused[0]["reason"]


def test_examples_become_a_model_by_the_method(working: Live, ten: Path, tmp_path: Path) -> None:
    said = {"VISION_SERVER": working.url}
    words = ("train", "--strategy", "pulled", "--examples", ten, "--name", "pulled-shapes")
    wrong = run(*words, "--output-dir", tmp_path / "wrong", "--param", "steps=51", **said)
    assert wrong.returncode != 0
    assert "--param steps: it must be at most 50" in wrong.stderr
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
    arguments = {"learning_type": "few_shot", "method": "pull", "extra": {"steps": 60}}
    config = {"type": "image_classification", "base_model": "lite", "training_args": arguments}
    with working.client() as client:
        wrong = client.post("/v1/configurations/check", json=config)
        assert wrong.status_code == 422
        assert "params.steps: it must be at most 50" in wrong.json()["detail"]
        arguments["extra"] = {"steps": 6}
        right = client.post("/v1/configurations/check", json=config)
        assert right.status_code == 200, right.text
