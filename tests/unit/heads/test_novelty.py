"""Refusing what shows none of the labels, and scores that can be believed: on clusters and on real images of wheels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from app.heads import Head, Priors, SupportSet, fit_head
from app.heads.novelty import UNKNOWN_SHARE
from app.heads.types import Floats, unit
from benchmarks.scores import expected_calibration_error
from tests.unit.heads.head_data import clusters, generic_priors

PRIORS = generic_priors()


def head_of(vectors: Floats, priors: Priors = PRIORS) -> Head:
    """Of vectors float32[labels, each, d]."""
    supports = SupportSet(vectors.shape[2])
    ids = np.arange(len(vectors))
    supports.add(np.repeat(ids, vectors.shape[1]), vectors.reshape(-1, vectors.shape[2]))
    return fit_head([f"label {i}" for i in ids], None, supports, ids.tolist(), priors)


def balance(threshold: float, known: Floats, right: np.ndarray, unknown: Floats) -> float:
    """Mean of (right and accepted, unknown and refused)."""
    return float(0.5 * ((known >= threshold) & right).mean() + 0.5 * (unknown < threshold).mean())


def gap(head: Head, queries: Floats, unknown: list[Floats]) -> float:
    """What the default threshold is short of the best one on the same scores; each kind of unknown counts the same."""
    scores = head.predict(queries.reshape(-1, queries.shape[2])).scores
    right = scores.argmax(axis=1) == np.repeat(np.arange(len(queries)), queries.shape[1])
    best = scores.max(axis=1)
    size = max(len(images) for images in unknown)
    refused = np.concatenate([np.resize(head.predict(u).scores.max(axis=1), size) for u in unknown])
    tried = np.unique(np.concatenate([best, refused, [1.01]]))
    return max(balance(t, best, right, refused) for t in tried) - balance(
        head.threshold, best, right, refused
    )


def digits(classes: list[int], each: int, seed: int) -> Floats:
    """float32[labels, each, 64]: scikit-learn's digits, their pixels centred."""
    data = load_digits()
    pixels = unit((data.data - data.data.mean(axis=0)).astype(np.float32))
    rng = np.random.default_rng(seed)
    return np.stack(
        [pixels[rng.permutation(np.flatnonzero(data.target == digit))[:each]] for digit in classes]
    )


def digit_priors() -> Priors:
    """Generic ones for pixels, with background images that are none: noise of several scales."""
    rng = np.random.default_rng(0)
    waves = [rng.normal(size=(40, 64)), np.repeat(rng.normal(size=(40, 8)), 8, axis=1)]
    return replace(PRIORS, unrelated=0.0, background=unit(np.concatenate(waves).astype(np.float32)))


@pytest.mark.parametrize(
    ("labels", "shots", "most"),
    [
        (2, 1, 0.1),
        (2, 2, 0.1),
        (2, 5, 0.1),
        (2, 20, 0.06),
        (6, 1, 0.1),
        (6, 2, 0.15),
        (6, 5, 0.04),
        (6, 20, 0.04),
    ],
)
def test_the_default_threshold_is_near_the_best_on_clusters(labels: int, shots: int, most: float) -> None:
    """For an encoder of which nothing is known, not even background images."""
    gaps = []
    for seed in range(8):
        vectors, _ = clusters(labels + 6, shots + 30, noise=1.0, seed=seed)
        strangers = clusters(200, 1, seed=100 + seed)[0][:, 0]
        head = head_of(vectors[:labels, :shots])
        near = vectors[labels:, shots:].reshape(-1, 32)
        gaps.append(gap(head, vectors[:labels, shots:], [near, strangers]))
    assert np.mean(gaps) <= most


@pytest.mark.parametrize("shots", [5, 20])
@pytest.mark.parametrize("labels", [2, 7])
def test_the_default_threshold_is_near_the_best_on_digits(labels: int, shots: int) -> None:
    priors, gaps = digit_priors(), []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(10).tolist()
        vectors = digits(order[:labels], shots + 40, seed)
        head = head_of(vectors[:, :shots], priors)
        near = digits(order[labels:], 30, seed).reshape(-1, 64)
        assert priors.background is not None
        gaps.append(gap(head, vectors[:, shots:], [near, np.roll(priors.background, 3, axis=1)]))
    assert np.mean(gaps) <= 0.05


@pytest.mark.parametrize("shots", [5, 20])
def test_scores_are_as_often_right_as_they_say_where_every_image_shows_a_label(shots: int) -> None:
    confidence, right = [], []
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(10)[:7].tolist()
        vectors = digits(order, shots + 50, seed)
        scores = (
            head_of(vectors[:, :shots], digit_priors()).predict(vectors[:, shots:].reshape(-1, 64)).scores
        )
        confidence.append(scores.max(axis=1))
        right.append(scores.argmax(axis=1) == np.repeat(np.arange(7), 50))
    error = expected_calibration_error(
        np.concatenate(confidence).astype(np.float64), np.concatenate(right).astype(np.float64)
    )
    assert error <= 0.06


def test_the_share_for_none_is_small_where_every_image_shows_a_label() -> None:
    vectors, _ = clusters(6, 40, noise=1.0)
    found = head_of(vectors[:, :10]).predict(vectors[:, 10:].reshape(-1, 32))
    assert found.none.mean() < 2 * UNKNOWN_SHARE


def test_two_labels_alike_are_not_refused_for_their_likeness() -> None:
    """Taking one of two labels away leaves a softmax of one: that is no unknown to measure a threshold by."""
    rng = np.random.default_rng(0)
    centre, apart = unit(rng.normal(size=(2, 32)).astype(np.float32))
    means = np.stack([centre + 0.25 * apart, centre - 0.25 * apart])
    vectors = unit((means[:, None] + 0.35 * rng.normal(size=(2, 60, 32)) / np.sqrt(32)).astype(np.float32))
    head = head_of(vectors[:, :10])
    known = head.predict(vectors[:, 10:].reshape(-1, 32)).scores
    right = known.argmax(axis=1) == np.repeat([0, 1], 50)
    assert right.mean() > 0.9
    assert (known.max(axis=1) >= head.threshold)[right].mean() > 0.8


def test_more_labels_than_a_screen_holds_still_refuse_and_accept() -> None:
    vectors, _ = clusters(130, 12, dim=64, noise=0.9, seed=4)
    head = head_of(vectors[:100, :5])
    known = head.predict(vectors[:100, 5:].reshape(-1, 64)).scores
    right = known.argmax(axis=1) == np.repeat(np.arange(100), 7)
    unknown = head.predict(vectors[100:].reshape(-1, 64)).scores.max(axis=1)
    assert ((known.max(axis=1) >= head.threshold) & right).mean() > 0.8
    assert (unknown < head.threshold).mean() > 0.8
