"""How often a trained model expects each label: asked for or taken over from a collection, kept in its files, honoured
where it is loaded and where it is exported.

Real images (easy-VQA's shapes) and this project's small CLIP.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from torch import nn

from app.inference.errors import ModelUnavailableError
from app.models.classifiers import TrainedClassifier
from app.settings import Settings
from tests import shapes
from tests.made_engines import share_engines
from tests.training import Trained, pick_examples, train_model
from workers.exporting import onnx_files
from workers.exporting.classifier_module import ClassifierModule
from workers.shared.examples import Examples

COUNTS = {"circle": 12, "rectangle": 3, "triangle": 3}
PLAIN = {"augment": False, "validation_share": 0.0}


@pytest.fixture(scope="module")
def examples() -> Examples:
    """Four times as many circles as of each other shape."""
    left, rows = dict(COUNTS), []
    for number, (_, shape) in sorted(shapes.list_shapes().items()):
        if left[shape]:
            left[shape] -= 1
            rows.append((str(number), shapes.data(number), shape))
    return pick_examples(rows)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One folder for what encoders cache."""
    return Settings(data_dir=share_engines(tmp_path_factory.mktemp("data")), device="cpu", int8=False)


def note_of(made: Trained) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made.folder / "vision.json").read_text())
    return found


def random_features(dim: int) -> np.ndarray:
    """float32[60, d], unit rows."""
    rows = np.random.default_rng(0).normal(size=(60, dim)).astype(np.float32)
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def test_a_head_expects_labels_as_asked_and_else_as_its_collection(
    examples: Examples, settings: Settings, tmp_path: Path
) -> None:
    def train(name: str, given: Examples, **params: Any) -> tuple[TrainedClassifier, dict[str, Any]]:
        made = train_model(
            given, "head", tmp_path / name, base="clip-tiny", params={**PLAIN, **params}, settings=settings
        )
        return TrainedClassifier.load(made.folder), note_of(made)

    plain, noted = train("plain", examples)
    assert noted["label_counts"] is None
    shared, noted = train("shared", examples, label_shares="examples")
    assert dict(zip(noted["labels"], noted["label_counts"], strict=True)) == COUNTS
    inherited, found = train("inherited", examples.expect("examples"))
    assert found["label_counts"] == noted["label_counts"]
    equal, found = train("equal", examples.expect("examples"), label_shares="equal")
    assert found["label_counts"] is None

    asked = random_features(plain.note.dim)
    scores = {id(model): model.predict(asked).scores for model in (plain, shared, inherited, equal)}
    rise = scores[id(shared)][:, 0] - scores[id(plain)][:, 0]  # of circles
    assert rise.min() > -1e-6
    assert rise.max() > 0.05
    np.testing.assert_array_equal(scores[id(shared)], scores[id(inherited)])
    np.testing.assert_array_equal(scores[id(plain)], scores[id(equal)])


def test_what_is_exported_expects_labels_as_what_is_served(
    examples: Examples, settings: Settings, tmp_path: Path
) -> None:
    made = train_model(
        examples,
        "head",
        tmp_path,
        base="clip-tiny",
        params={**PLAIN, "label_shares": "examples"},
        settings=settings,
    )
    classifier = TrainedClassifier.load(made.folder)
    asked = random_features(classifier.note.dim)
    file = tmp_path / "classifier.onnx"
    module = ClassifierModule(nn.Identity(), classifier)
    onnx_files.export(module, {"pixels": asked[:2]}, file, ["scores", "none"], dynamic={"pixels": [0]})
    scores, none = onnx_files.run(file, {"pixels": asked})
    served = classifier.predict(asked)
    np.testing.assert_allclose(scores, served.scores, atol=1e-4)
    np.testing.assert_allclose(none, served.none, atol=1e-4)


def test_files_of_former_versions_and_wrong_counts(
    examples: Examples, settings: Settings, tmp_path: Path
) -> None:
    made = train_model(examples, "head", tmp_path, base="clip-tiny", params=PLAIN, settings=settings)
    noted = note_of(made)

    def load(**changes: Any) -> TrainedClassifier:
        (made.folder / "vision.json").write_text(json.dumps({**noted, **changes}))
        return TrainedClassifier.load(made.folder)

    asked = random_features(noted["dim"])
    before = load().predict(asked).scores
    del noted["label_counts"]  # as versions before it wrote
    np.testing.assert_array_equal(load().predict(asked).scores, before)
    even = load(label_counts=[7, 7, 7]).predict(asked).scores
    np.testing.assert_allclose(even, before, atol=1e-6)
    for counts in ([7, 7], [7, 7, -1], [7, 7, 10**30], [7, 7, 1.5], "777"):
        with pytest.raises(ModelUnavailableError):
            load(label_counts=counts)


@pytest.mark.parametrize(
    ("method", "params", "learned", "other"),
    [
        ("lora", {"steps": 1}, "examples", "equal"),
        ("finetune", {"epochs": 0.1, "batch_size": 4}, "equal", "examples"),  # whose loss weighs labels
    ],
)
def test_a_trained_classifier_expects_labels_in_another_way_than_it_learned(
    examples: Examples,
    settings: Settings,
    tmp_path: Path,
    method: str,
    params: dict[str, Any],
    learned: str,
    other: str,
) -> None:
    def bias(name: str, **more: Any) -> np.ndarray:
        made = train_model(
            examples,
            method,
            tmp_path / name,
            base="clip-tiny",
            params={**PLAIN, **params, "publish": "trained", **more},
            settings=settings,
        )
        assert note_of(made)["label_counts"] is None  # its own rows and bias decide
        found: np.ndarray = load_file(made.folder / "head.safetensors")["bias"]
        return found

    plain = bias("plain")
    np.testing.assert_array_equal(bias("learned", label_shares=learned), plain)
    counts = np.array([COUNTS[label] for label in sorted(COUNTS)]) + 1
    shares = np.log(counts / counts.sum()) * (1 if other == "examples" else -1)
    np.testing.assert_allclose(bias("other", label_shares=other) - plain, shares, atol=1e-4)


def test_the_head_that_a_training_publishes_expects_labels_as_asked(
    examples: Examples, settings: Settings, tmp_path: Path
) -> None:
    made = train_model(
        examples,
        "lora",
        tmp_path,
        base="clip-tiny",
        params={"steps": 1, "learning_rate": 1e-12, "augment": False, "label_shares": "examples"},
        settings=settings,
    )
    assert made.evaluation["published"] == "head"
    noted = note_of(made)
    assert dict(zip(noted["labels"], noted["label_counts"], strict=True)) == COUNTS
