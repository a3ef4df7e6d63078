"""The methods that learn on features: what they recognise, that they go on where they stopped, what they refuse.

Real images (easy-VQA's shapes, none of them ever trained on) and the real embedded encoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from safetensors.numpy import load_file

from app.families.encoders import load_encoder, resolve
from app.inference.errors import ModelUnavailableError
from app.inference.protocols import Vectors
from app.inference.sources import EncoderConfig
from app.jobs.errors import NotTrainableError
from app.jobs.spec import Comparison
from app.models.classifiers import TrainedClassifier
from app.settings import Settings
from tests import shapes
from tests.made_engines import share_engines
from tests.training import Trained, pick_examples, train_model
from workers.shared.examples import Examples, Item
from workers.shared.method import StoppingError
from workers.shared.metrics import NOT_JUDGED
from workers.shared.run import JobRun
from workers.training.comparing import compare

SHOTS, ASKED = 6, 12
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("head", {}),
    ("prototypical", {"steps": 100}),
    ("maml", {"steps": 25}),
    ("maml", {"steps": 10, "algorithm": "maml"}),
    ("maml", {"steps": 10, "algorithm": "maml", "first_order": True}),
    ("siamese", {"steps": 100}),
    ("siamese", {"steps": 100, "loss": "contrastive"}),
]
END_TO_END = [
    ("prototypical", {"steps": 6}),
    pytest.param("maml", {"steps": 2}, marks=pytest.mark.slow),
    pytest.param("siamese", {"steps": 6}, marks=pytest.mark.slow),
]
Rows = list[tuple[str, bytes, str]]


@pytest.fixture(scope="module")
def rows() -> tuple[Rows, Rows]:
    """Examples to learn from, and images that no method is shown."""
    by_shape: dict[str, Rows] = {}
    for number, (_, shape) in sorted(shapes.list_shapes().items()):
        by_shape.setdefault(shape, []).append((str(number), shapes.data(number), shape))
    return (
        [row for found in by_shape.values() for row in found[:SHOTS]],
        [row for found in by_shape.values() for row in found[SHOTS : SHOTS + ASKED]],
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One folder for what encoders cache."""
    return Settings(data_dir=share_engines(tmp_path_factory.mktemp("data")), int8=False)


@pytest.fixture(scope="module")
def queries(rows: tuple[Rows, Rows], settings: Settings) -> Vectors:
    """float32[m, d]: features of the images that no method is shown."""
    return features("lite", pick_examples(rows[1]), settings)


def features(word: str, examples: Examples, settings: Settings) -> Vectors:
    """In the examples' own order."""
    encoder = load_encoder(resolve(word), EncoderConfig.from_settings(settings))
    return np.concatenate(
        [encoder.encode_images(encoder.preprocess(examples.image(item))[None]) for item in examples.items]
    )


def accuracy(classifier: TrainedClassifier, found: Vectors, examples: Examples) -> float:
    """Of the best label; every row is checked to be a distribution."""
    prediction = classifier.predict(found)
    assert np.allclose(prediction.scores.sum(axis=1) + prediction.none, 1, atol=1e-4)
    best = [classifier.labels[index] for index in prediction.scores.argmax(axis=1)]
    return float(np.mean([label == item.label for label, item in zip(best, examples.items, strict=True)]))


@pytest.mark.parametrize(("method", "params"), METHODS)
def test_a_trained_model_recognises_images_it_was_not_shown(
    rows: tuple[Rows, Rows],
    queries: Vectors,
    settings: Settings,
    tmp_path: Path,
    method: str,
    params: dict[str, Any],
) -> None:
    made = train_model(
        pick_examples(rows[0]), method, tmp_path, params={**params, "augment": False}, settings=settings
    )
    assert accuracy(TrainedClassifier.load(made.folder), queries, pick_examples(rows[1])) >= 0.8
    assert made.card.files == ["vision.json", "head.safetensors"]
    assert made.card.data["refitted_on"] == len(rows[0])
    assert made.evaluation["evaluated_on"] == "validation"
    assert made.evaluation["accuracy"] > made.evaluation["chance"]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "params"), END_TO_END)
def test_the_last_stages_learn_along(
    rows: tuple[Rows, Rows], settings: Settings, tmp_path: Path, method: str, params: dict[str, Any]
) -> None:
    made = train_model(
        pick_examples(rows[0][::2]),
        method,
        tmp_path,
        params={**params, "end_to_end": True, "augment": False},
        settings=settings,
    )
    assert made.card.files == ["vision.json", "head.safetensors", "tail.safetensors"]
    untouched = pick_examples(rows[1][::2])
    found = features(str(made.folder), untouched, settings)
    assert accuracy(TrainedClassifier.load(made.folder), found, untouched) >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prototypical", "maml", "siamese"])
def test_a_stopped_run_ends_as_one_that_was_left_alone(
    rows: tuple[Rows, Rows], settings: Settings, tmp_path: Path, method: str
) -> None:
    params = {"steps": 12, "evaluate_every": 5, "augment": method == "prototypical"}
    examples = pick_examples(rows[0][::2])
    whole = train_model(examples, method, tmp_path / "whole", params=params, seed=3, settings=settings)
    again = train_model(examples, method, tmp_path / "again", params=params, seed=3, settings=settings)
    with pytest.raises(StoppingError):
        train_model(examples, method, tmp_path / "cut", params=params, seed=3, stop_at=7, settings=settings)
    checkpoint = tmp_path / "cut" / "scratch" / "checkpoint"
    resumed = train_model(
        examples, method, tmp_path / "rest", params=params, seed=3, restored=checkpoint, settings=settings
    )
    assert [step for step, _, _ in resumed.run.reports] == list(range(8, 13))
    other = train_model(examples, method, tmp_path / "other", params=params, seed=4, settings=settings)
    for made in (again, resumed):
        assert same(whole, made)
    assert not same(whole, other)
    assert resumed.evaluation == whole.evaluation


def same(one: Trained, other: Trained) -> bool:
    """Whether both left the same weights, bit by bit."""
    first, second = (load_file(made.folder / "head.safetensors") for made in (one, other))
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_one_example_a_label_is_enough_for_a_siamese_network(
    rows: tuple[Rows, Rows], queries: Vectors, settings: Settings, tmp_path: Path
) -> None:
    made = train_model(
        pick_examples(rows[0][::SHOTS]), "siamese", tmp_path, params={"steps": 20}, settings=settings
    )
    assert made.evaluation["evaluated_on"] == NOT_JUDGED
    assert "accuracy" not in made.evaluation
    assert accuracy(TrainedClassifier.load(made.folder), queries, pick_examples(rows[1])) > 0.5


def test_without_held_out_examples_the_metrics_say_what_they_are_of(
    rows: tuple[Rows, Rows], settings: Settings, tmp_path: Path
) -> None:
    params = {"steps": 5, "validation_share": 0, "augment": False}
    left = train_model(
        pick_examples(rows[0]), "prototypical", tmp_path / "a", params=params, settings=settings
    )
    assert left.evaluation["evaluated_on"] == "leave_one_out"
    crossed = train_model(pick_examples(rows[0]), "maml", tmp_path / "b", params=params, settings=settings)
    assert crossed.evaluation["evaluated_on"] == "cross_validation"


def test_training_stops_when_it_gets_no_better(
    rows: tuple[Rows, Rows], settings: Settings, tmp_path: Path
) -> None:
    params = {"steps": 300, "evaluate_every": 1, "patience": 2, "learning_rate": 1e-9, "augment": False}
    made = train_model(pick_examples(rows[0]), "prototypical", tmp_path, params=params, settings=settings)
    assert made.run.reports[-1][0] < 300
    assert any("stopping after step" in line for line in made.run.lines)


def test_what_cannot_be_learned_from_is_refused(
    rows: tuple[Rows, Rows], settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(NotTrainableError, match="at least two labels"):
        train_model(pick_examples(rows[0][:SHOTS]), "prototypical", tmp_path, settings=settings)
    for method, params in (("prototypical", {}), ("maml", {}), ("siamese", {"augment": False})):
        with pytest.raises(NotTrainableError, match=r"at least 2 examples a label.*has 1"):
            train_model(
                pick_examples(rows[0][: SHOTS + 1]), method, tmp_path, params=params, settings=settings
            )


def test_a_trained_model_is_weighed_against_the_head_on_the_same_images(
    rows: tuple[Rows, Rows], settings: Settings, tmp_path: Path
) -> None:
    taught = [(name, data, label, "train") for name, data, label in rows[0]]
    asked = [(name, data, label, "test") for name, data, label in rows[1]]
    items = [Item(name, split, label=label) for name, _, label, split in (*taught, *asked)]  # type: ignore[arg-type]
    examples = Examples(
        "classification", items, {name: data for name, data, *_ in (*taught, *asked)}.__getitem__
    )

    def compared(method: str, **params: Any) -> tuple[Comparison, Trained]:
        made = train_model(
            examples, method, tmp_path / method, base="clip-tiny", params=params, settings=settings
        )
        return compare(cast(JobRun, made.run), examples, made.judgement), made

    one_step, weak = compared("siamese", steps=1, learning_rate=1e-9, dim=8)
    by_head, head = compared("head")
    # the head that it is compared with is the one that the method `head` publishes
    assert one_step.head == by_head.head == by_head.trained
    assert one_step.head is not None
    assert one_step.trained is not None
    assert one_step.head.accuracy == head.evaluation["accuracy"]
    assert one_step.trained.accuracy == weak.evaluation["accuracy"] < one_step.head.accuracy
    assert (one_step.images, one_step.evaluated_on, one_step.use) == (len(asked), "test", "head")
    assert one_step.commonest == weak.evaluation["commonest"]
    assert one_step.chance == weak.evaluation["chance"]
    few = settings.replace(compare_images=7)
    weak.run.settings = few
    limited = compare(cast(JobRun, weak.run), examples, weak.judgement)
    assert limited.images == 7
    assert f"7 of the {len(taught)} training images" in limited.sentence
    assert f"Compared on 7 of {len(asked)} held-out images" in limited.sentence
    nothing = compare(cast(JobRun, weak.run), examples, None)
    assert nothing.use is None
    assert "no examples were held out" in nothing.sentence


def test_files_that_do_not_go_together_are_refused(
    rows: tuple[Rows, Rows], settings: Settings, tmp_path: Path
) -> None:
    made = train_model(
        pick_examples(rows[0]),
        "prototypical",
        tmp_path,
        params={"steps": 1, "augment": False},
        settings=settings,
    )
    note = made.folder / "vision.json"
    note.write_text(note.read_text().replace('"dim": 1472', '"dim": 12'))
    with pytest.raises(ModelUnavailableError, match="do not go together"):
        TrainedClassifier.load(made.folder)
