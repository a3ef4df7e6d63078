"""Adapters of encoders: what they recognise, that they share their base, go on where they stopped, and are refused.

Real images (easy-VQA's shapes) and real encoders: the embedded one and this project's small CLIP.
"""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from app.collections.texts import prompts
from app.families.encoders import load_encoder, resolve
from app.families.hugging_face_adapter import PeftEncoder
from app.families.lite.adapted import AdaptedLite
from app.heads import Head, SupportSet, fit_head, priors_of
from app.inference.errors import BaseModelChangedError, ModelUnavailableError
from app.inference.protocols import Encoder, TextEncoder, Vectors
from app.inference.sources import EncoderConfig
from app.jobs.errors import NotTrainableError
from app.models.classifiers import TrainedClassifier
from app.settings import Settings
from tests import shapes
from tests.made_engines import share_engines
from tests.training import Trained, pick_examples, train_model
from workers.shared.examples import Examples
from workers.shared.method import StoppingError

SHOTS, ASKED, CHANCE = 5, 12, 1 / 3
BASES = {"clip-tiny": "adapter_model.safetensors", "lite": "tail.safetensors"}
"""Base -> the file of its changed weights."""
STEPS = {"clip-tiny": 20, "lite": 20}
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
    return Settings(data_dir=share_engines(tmp_path_factory.mktemp("data")), device="cpu", int8=False)


@pytest.fixture(scope="module")
def models(
    rows: tuple[Rows, Rows], settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Trained]:
    """One adapter over each base."""
    return {
        base: train_model(
            pick_examples(rows[0]),
            "lora",
            tmp_path_factory.mktemp(base),
            base=base,
            params={"steps": STEPS[base], "evaluate_every": 10, "publish": "trained"},
            settings=settings,
        )
        for base in BASES
    }


def open_encoder(word: str | Path, settings: Settings) -> Encoder:
    return load_encoder(resolve(str(word)), EncoderConfig.from_settings(settings))


def features(encoder: Encoder, examples: Examples) -> Vectors:
    """float32[n, d] in the examples' own order."""
    pixels = [encoder.preprocess(examples.image(item))[None] for item in examples.items]
    return np.concatenate([encoder.encode_images(batch) for batch in pixels])


def accuracy(made: Trained, encoder: Encoder, examples: Examples) -> float:
    """Of the best label; every row is checked to be a distribution."""
    classifier = TrainedClassifier.load(made.folder)
    found = classifier.predict(features(encoder, examples))
    assert np.allclose(found.scores.sum(axis=1) + found.none, 1, atol=1e-4)
    best = [classifier.labels[index] for index in found.scores.argmax(axis=1)]
    return float(np.mean([label == item.label for label, item in zip(best, examples.items, strict=True)]))


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
def test_an_adapted_encoder_is_no_worse_than_the_closed_form_head(
    rows: tuple[Rows, Rows], models: dict[str, Trained], settings: Settings, tmp_path: Path, base: str
) -> None:
    untouched = pick_examples(rows[1])
    right = accuracy(models[base], open_encoder(models[base].folder, settings), untouched)
    plain = train_model(
        pick_examples(rows[0]), "head", tmp_path, base=base, params={"augment": False}, settings=settings
    )
    closed = accuracy(plain, open_encoder(base, settings), untouched)
    noise = 2 * np.sqrt(0.25 / len(untouched.items))  # two standard errors at their largest
    assert right > CHANCE + noise
    assert right >= closed - noise
    assert models[base].evaluation["evaluated_on"] == "validation"
    assert models[base].evaluation["chance"] == pytest.approx(CHANCE, abs=0.01)


def test_training_begins_as_the_closed_form_head_and_ends_where_nothing_gets_better(
    rows: tuple[Rows, Rows], settings: Settings, tmp_path: Path
) -> None:
    params = {"steps": 5, "learning_rate": 1e-12, "validation_share": 0, "augment": False}
    made = train_model(
        pick_examples(rows[0]), "lora", tmp_path, base="lite", params=params, settings=settings
    )
    encoder = open_encoder("lite", settings)
    asked = features(encoder, pick_examples(rows[1]))
    by_head = head_of(encoder, pick_examples(rows[0])).predict(asked)
    said = TrainedClassifier.load(made.folder).predict(asked)
    agree = np.mean(said.scores.argmax(axis=1) == by_head.scores.argmax(axis=1))
    assert made.card.files[2:] == ["tail.safetensors"]
    assert agree >= 0.9, "it begins with what the head says"


@pytest.mark.parametrize("method", ["lora", pytest.param("finetune", marks=pytest.mark.slow)])
def test_what_training_only_spoils_ends_early_and_the_head_is_published(
    rows: tuple[Rows, Rows], settings: Settings, tmp_path: Path, method: str
) -> None:
    length = {"steps": 200} if method == "lora" else {"epochs": 200}
    params = {**length, "evaluate_every": 1, "learning_rate": 0.5, "patience": 2, "augment": False}
    made = train_model(
        pick_examples(rows[0]), method, tmp_path, base="lite", params=params, settings=settings
    )
    assert made.run.reports[-1][0] < 20
    assert any("stopping after step" in line for line in made.run.lines)
    assert any("What is published is the closed-form head." in line for line in made.run.lines)
    beside = made.evaluation["beside"]
    assert beside["head"] == made.evaluation["accuracy"]
    assert beside.keys() >= {"trained", "head_on_trained_features", "prototypes", "logistic_regression"}
    assert beside["chance"] == pytest.approx(CHANCE)
    assert made.card.files == ["vision.json", "head.safetensors"]
    assert made.evaluation["best_step"] == 0
    assert made.judgement is not None
    encoder = open_encoder("lite", settings)
    asked = features(encoder, pick_examples(rows[1]))
    said = TrainedClassifier.load(made.folder).predict(asked)
    expected = head_of(encoder, pick_examples(rows[0]), with_texts=True).predict(asked)
    assert np.allclose(said.scores, expected.scores, atol=0.02)  # activations were kept in 16 bits


def head_of(encoder: Encoder, taught: Examples, *, with_texts: bool = False) -> Head:
    """What a collection of these examples has, or would have without texts of its labels."""
    labels, supports = taught.labels, SupportSet(encoder.dim)
    owners = np.array([labels.index(item.label or "") for item in taught.items])
    supports.add(owners, features(encoder, taught))
    texts = None
    if with_texts:
        assert isinstance(encoder, TextEncoder)
        means = np.stack([encoder.encode_texts(prompts(label)).mean(axis=0) for label in labels])
        texts = means / np.linalg.norm(means, axis=1, keepdims=True)
    return fit_head(labels, texts, supports, list(range(len(labels))), priors_of(encoder))


@pytest.mark.slow
@pytest.mark.parametrize("base", ["clip-tiny", "lite"])
def test_a_folder_is_an_encoder_like_any_other(
    rows: tuple[Rows, Rows], models: dict[str, Trained], settings: Settings, base: str
) -> None:
    made = models[base]
    assert made.card.files[:2] == ["vision.json", "head.safetensors"]
    assert BASES[base] in made.card.files
    source = resolve(str(made.folder))
    assert (source.name, source.family) == ("test", resolve(base).family)
    own, plain = open_encoder(made.folder, settings), open_encoder(base, settings)
    assert (own.dim, own.input_size) == (plain.dim, plain.input_size)
    assert own.fingerprint != plain.fingerprint
    few = pick_examples(rows[1][:3])
    moved = features(own, few)
    assert np.allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-4)
    # `lite` begins as the head and may have nothing to gain here; it then is its base to the last digit
    assert np.allclose(moved, features(plain, few), atol=1e-5) is (made.evaluation["best_step"] == 0)
    assert own.encode_texts(["a circle", "a triangle"]).shape == (2, own.dim)


@pytest.mark.slow
@pytest.mark.parametrize("base", ["lite", "clip-tiny"])
def test_a_stopped_run_ends_as_one_that_was_left_alone(
    rows: tuple[Rows, Rows], settings: Settings, tmp_path: Path, base: str
) -> None:
    params: dict[str, Any] = {"steps": 6, "evaluate_every": 2}
    if base == "clip-tiny":  # so fast that what was trained is published, which alone makes a second pass
        params["learning_rate"] = 1e-2
    examples = pick_examples(rows[0][::2])

    def run(name: str, seed: int = 3, **more: Any) -> Trained:
        return train_model(
            examples, "lora", tmp_path / name, base=base, params=params, seed=seed, settings=settings, **more
        )

    whole, again, other = run("whole"), run("again"), run("other", seed=4)
    made = [step for step, _, _ in whole.run.reports]
    again_steps = whole.evaluation["best_step"] if whole.evaluation["published"] == "trained" else 0
    assert made == list(range(1, 7 + again_steps)), "then on all, as long as did best"
    assert (again_steps > 0) == (base == "clip-tiny")
    taken_in = "trained_again_on" if again_steps else "refitted_on"
    assert whole.evaluation[taken_in] == len(examples.items)
    assert same(whole, again)
    assert not (whole.evaluation["best_step"] and same(whole, other))
    for stop in (3, 7) if again_steps else (3,):
        with pytest.raises(StoppingError):
            run(f"cut {stop}", stop_at=stop)
        resumed = run(f"rest {stop}", restored=tmp_path / f"cut {stop}" / "scratch" / "checkpoint")
        assert [step for step, _, _ in resumed.run.reports] == made[stop:]
        assert same(whole, resumed)
        assert resumed.evaluation == whole.evaluation
        assert resumed.judgement == whole.judgement, (
            "also where the second pass was resumed, after it was judged"
        )


@pytest.mark.parametrize("base", BASES)
def test_without_held_out_examples_the_last_weights_are_kept(
    rows: tuple[Rows, Rows], settings: Settings, tmp_path: Path, base: str
) -> None:
    params = {"steps": 4, "evaluate_every": 1, "patience": 1, "validation_share": 0, "augment": False}
    examples = pick_examples(rows[0][::3])
    made, shorter = (
        train_model(
            examples,
            "lora",
            tmp_path / str(steps),
            base=base,
            params=params | {"steps": steps},
            settings=settings,
        )
        for steps in (4, 2)
    )
    assert made.run.reports[-1][0] == 4
    assert made.evaluation["best_step"] == 4
    assert "not judged" in made.evaluation["evaluated_on"]
    assert not same(made, shorter)
    if base == "clip-tiny":
        weights = load_file(made.folder / BASES[base])
        assert all(weight.any() for name, weight in weights.items() if "lora_B" in name)


def same(one: Trained, other: Trained) -> bool:
    """Whether both left the same weights, bit by bit."""
    if one.card.files != other.card.files:
        return False
    for name in (file for file in one.card.files if file.endswith(".safetensors")):
        first, second = (load_file(made.folder / name) for made in (one, other))
        if first.keys() != second.keys() or any(not np.array_equal(first[k], second[k]) for k in first):
            return False
    return True


def test_two_adapters_lie_over_one_base(
    rows: tuple[Rows, Rows], models: dict[str, Trained], settings: Settings, tmp_path: Path
) -> None:
    few = pick_examples(rows[1][:3])
    alone = open_encoder(models["clip-tiny"].folder, settings)
    expected = features(alone, few)
    other_folder = mirror_adapter(models["clip-tiny"].folder, tmp_path / "other")
    one, two = alone, open_encoder(other_folder, settings)
    assert isinstance(one, PeftEncoder)
    assert isinstance(two, PeftEncoder)
    (base,) = one.bases
    assert two.bases[0] is base
    assert len(base.adapters) == 2
    assert one.fingerprint != two.fingerprint
    beside = [encoder.memory_bytes - base.memory_bytes for encoder in (one, two)]
    assert all(0 < own < base.memory_bytes / 10 for own in beside)
    assert np.array_equal(features(one, few), expected)
    assert not np.allclose(features(two, few), expected, atol=1e-3)
    assert np.array_equal(features(one, few), expected)
    two.close()
    assert len(base.adapters) == 1
    assert np.array_equal(features(one, few), expected)


def mirror_adapter(folder: Path, to: Path) -> Path:
    """The same adapter with its changes turned round and made large."""
    shutil.copytree(folder, to)
    weights = load_file(to / BASES["clip-tiny"])
    turned = {name: -50 * weight if "lora_B" in name else weight for name, weight in weights.items()}
    save_file(turned, to / BASES["clip-tiny"])
    return to


def test_a_base_goes_with_its_last_adapter(models: dict[str, Trained], settings: Settings) -> None:
    gc.collect()
    first = open_encoder(models["clip-tiny"].folder, settings)
    assert isinstance(first, PeftEncoder)
    before = id(first.bases[0])
    kept = open_encoder(models["clip-tiny"].folder, settings)
    assert isinstance(kept, PeftEncoder)
    first.close()
    del first
    gc.collect()
    assert id(kept.bases[0]) == before
    assert len(kept.bases[0].adapters) == 1


@pytest.mark.parametrize("base", BASES)
def test_another_base_than_it_was_trained_over_is_refused(
    models: dict[str, Trained], settings: Settings, tmp_path: Path, base: str
) -> None:
    folder = shutil.copytree(models[base].folder, tmp_path / "moved")
    note = json.loads((folder / "vision.json").read_text())
    (folder / "vision.json").write_text(json.dumps({**note, "base_fingerprint": "0" * 16}))
    with pytest.raises(BaseModelChangedError, match="train it again"):
        open_encoder(folder, settings)


@pytest.mark.parametrize("base", BASES)
def test_damaged_weights_are_refused(
    models: dict[str, Trained], settings: Settings, tmp_path: Path, base: str
) -> None:
    folder = shutil.copytree(models[base].folder, tmp_path / "damaged")
    (folder / BASES[base]).write_bytes(b"not a model")
    with pytest.raises(ModelUnavailableError):
        open_encoder(folder, settings)


def test_the_texts_of_lite_are_its_bases(models: dict[str, Trained], settings: Settings) -> None:
    own = open_encoder(models["lite"].folder, settings)
    assert isinstance(own, AdaptedLite)
    assert np.array_equal(
        own.encode_texts(["circle"]), open_encoder("lite", settings).encode_texts(["circle"])
    )


def test_what_an_encoder_cannot_learn_from_is_refused(
    rows: tuple[Rows, Rows], settings: Settings, tmp_path: Path
) -> None:
    for number, (some, params, sentence) in enumerate(
        (
            (rows[0][:SHOTS], {}, "at least two labels"),
            (rows[0], {"four_bit": True}, "not trained in 4 bits"),
        )
    ):
        with pytest.raises(NotTrainableError, match=sentence):
            train_model(pick_examples(some), "lora", tmp_path / str(number), params=params, settings=settings)
