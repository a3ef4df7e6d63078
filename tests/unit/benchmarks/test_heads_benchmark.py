"""The comparison of heads runs through on small made sets, and its tables say what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from app.heads.priors import named_priors
from benchmarks.heads import beginnings, coverage, curves, measuring, pictures, tables, timing
from benchmarks.heads.__main__ import report, round_figures
from benchmarks.heads.classifiers import PLAIN
from benchmarks.heads.episodes import Episode, draw
from benchmarks.heads.measuring import Figures
from benchmarks.image_sets import ImageSet

DIM = 32
PRIORS = named_priors("made", "none", 30.0, DIM)


def a_set(name: str, seed: int, labels: int = 6, each: int = 64) -> ImageSet:
    """Labels as clusters that plain classifiers tell apart; texts say nothing."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(labels, DIM))
    vectors = np.repeat(means, each, axis=0) + 0.9 * rng.normal(size=(labels * each, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = rng.normal(size=(labels, DIM)) / np.sqrt(DIM)
    names = tuple(f"label {i}" for i in range(labels))
    return ImageSet(
        name, vectors.astype(np.float32), np.repeat(np.arange(labels), each), names, texts.astype(np.float32)
    )


SETS = [a_set("hills", 1), a_set("rivers", 2)]


def a_drawn_episode() -> Episode:
    episode = draw(SETS[0], SETS[1].vectors, (2,), np.random.default_rng(0))
    assert episode is not None
    return episode


@pytest.fixture(scope="module")
def figures() -> Figures:
    found = measuring.measure(SETS, PRIORS, 2)
    # As it is kept and read again.
    read: Figures = json.loads(json.dumps(round_figures(found)))
    return read


def test_every_method_is_asked_the_same_at_every_number_of_shots(figures: Figures) -> None:
    for name in ("hills", "rivers"):
        assert list(figures["accuracy"][name]) == [str(shots) for shots in measuring.SHOTS]
        for methods in figures["accuracy"][name].values():
            assert set(methods) == {"default", *PLAIN}
            assert {len(found) for found in methods.values()} == {2}
        assert np.mean(figures["accuracy"][name]["20"]["default"]) > 0.9


def test_rejection_is_told_at_the_default_threshold_and_at_the_best_one(figures: Figures) -> None:
    judged = figures["default"]["hills"]["20"]
    assert 0 <= judged["right accepted"] <= judged["accuracy"]
    assert judged["balance"] == pytest.approx(
        (judged["right accepted"] + judged["unknown refused"]) / 2, abs=1e-3
    )
    assert judged["best balance"] > 0.8
    assert 0 <= judged["ECE"] < 0.05


def test_report_pairs_with_a_former_run_on_the_same_episodes(figures: Figures) -> None:
    written = report(figures, figures)
    assert "| default - default before | +0.0 ± 0.0 (0-0; 0/2) |" in written
    assert "| hills | kNN |" in written
    shorter = {"accuracy": {"hills": {"1": {"default": [0.5]}}}, "default": {}}
    assert "default before" not in tables.accuracy_table(tables.with_before(figures["accuracy"], shorter))


def test_beginnings_tell_how_sure_a_head_is_of_little() -> None:
    written = report({"beginnings": beginnings.beginnings(SETS, PRIORS, 2)}, None)
    assert written.startswith("### Beginnings")
    for case in beginnings.CASES:
        assert f"| {case} | " in written
    alike = beginnings.repeat_pictures(a_drawn_episode(), np.random.default_rng(0))
    first, second = alike.supports[0], alike.supports[1]
    assert 0.99 < float(first @ second) < 1.0
    assert alike.labels[0] == alike.labels[1]


def test_pictures_are_small_drawings_with_their_words_as_text(figures: Figures, tmp_path: Path) -> None:
    pictures.draw_accuracy(figures["accuracy"], tmp_path / "accuracy.svg")
    pictures.draw_reliability(figures["default"], tmp_path / "reliability.svg")
    for path, word in (("accuracy.svg", "kNN"), ("reliability.svg", "share that is right")):
        drawn = (tmp_path / path).read_text("utf-8")
        assert word in drawn
        assert len(drawn) < 60_000


def test_scarce_labels_and_wrong_labels_are_told_apart_from_the_rest() -> None:
    found = curves.imbalance(SETS, PRIORS, 1, ["logistic regression", "balanced logistic regression"])
    assert set(found) == set(curves.IMBALANCES)
    assert "recall of scarce labels" in tables.imbalance_table(found)
    [[recall, _]] = found["one label with 1, others 50"]["hills"]["logistic regression"]
    [[balanced, _]] = found["one label with 1, others 50"]["hills"]["balanced logistic regression"]
    assert recall <= balanced
    noisy = curves.noise(SETS, PRIORS, 1, ["kNN"])
    assert list(noisy) == ["0%", "10%", "20%"]
    assert np.mean(noisy["20%"]["hills"]["kNN"]) <= np.mean(noisy["0%"]["hills"]["kNN"])


def test_sets_of_labels_hold_the_truth_as_often_as_they_promise() -> None:
    fog = a_set("fog", 4, 6, 100)
    fog.vectors[:] += 0.25 * np.random.default_rng(5).normal(size=fog.vectors.shape)
    found = coverage.coverage([fog, SETS[0]], PRIORS, 3)
    assert list(found) == ["0.9", "0.95"]
    assert list(found["0.9"]["fog"]) == ["5", "10", "20", "50"]
    many = found["0.9"]["fog"]["50"]
    assert many["guarantee"] == "label"
    assert found["0.9"]["fog"]["5"]["guarantee"] == "average"
    assert many["strictly"] == pytest.approx(0.9, abs=0.07)
    assert many["strictly"] <= many["held"]
    assert "| 0.9 | 50 | 2 label |" in tables.coverage_table(found)


def test_a_size_that_a_set_has_no_images_for_is_left_out() -> None:
    found = curves.size([a_set("plain", 3, 6, 250)], PRIORS, 1)
    assert list(found["plain"]) == ["100", "200", "500"]
    assert "prototypes" in found["plain"]["500"]
    assert "| plain | default |" in tables.size_table(found)


def test_simulated_examples_are_as_many_as_they_are_said_to_be() -> None:
    supports, texts, queries = timing.simulate(7, 3, DIM)
    assert supports.total == 21
    assert texts.shape == (7, DIM)
    assert queries.shape == (64, DIM)
