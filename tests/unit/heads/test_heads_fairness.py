"""What unequal labels, wrong labels, size and order do to a fitted head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from app.heads import Head, SupportSet, fit_head, gathering
from app.heads import supports as supports_module
from app.heads.supports import vector_key
from app.heads.types import unit
from tests.unit.heads.head_data import Floats, clusters, generic_priors, support_set

Ints = NDArray[np.int64]
PRIORS = generic_priors()


def digits() -> tuple[Floats, Ints]:
    """scikit-learn's digits as unit vectors float32[n, 64], less what all have in common, in an order by chance."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return unit((data.data - data.data.mean(axis=0)).astype(np.float32))[order], data.target[order]


def drawn(sizes: dict[int, int], seed: int) -> tuple[Floats, Ints, Floats, Ints]:
    """So many digits of each kind to learn from, by their place in `sizes`, and 60 others of each to ask about."""
    vectors, target = digits()
    rng = np.random.default_rng(seed)
    taught, asked = [], []
    for place, (digit, size) in enumerate(sizes.items()):
        rows = rng.permutation(np.flatnonzero(target == digit))
        taught.append((vectors[rows[:size]], np.full(size, place)))
        asked.append((vectors[rows[size : size + 60]], np.full(60, place)))
    joined = [np.concatenate(column) for pairs in (taught, asked) for column in zip(*pairs, strict=True)]
    return joined[0], joined[1], joined[2], joined[3]


def fitted(vectors: Floats, labels: Ints, **options: Any) -> Head:
    supports = SupportSet(vectors.shape[1])
    supports.add(labels, vectors)
    count = int(labels.max()) + 1
    names = [f"label {i}" for i in range(count)]
    return fit_head(names, None, supports, list(range(count)), PRIORS, **options)


def predict_labels(head: Head, vectors: Floats) -> Ints:
    best: Ints = head.predict(vectors).scores.argmax(axis=1)
    return best


@pytest.mark.parametrize("sizes", [(20, 2), (50, 10), (50, 1)])
def test_a_scarce_label_is_found_as_often_as_by_balanced_logistic_regression(sizes: tuple[int, int]) -> None:
    ours, theirs = [], []
    for seed in range(8):
        digit = np.random.default_rng(seed).permutation(10)[:4]
        many = {int(label): sizes[0] for label in digit[:-1]} | {int(digit[-1]): sizes[1]}
        vectors, labels, queries, answers = drawn(many, seed)
        scarce = answers == 3
        plain = LogisticRegression(C=10, class_weight="balanced", max_iter=500).fit(vectors, labels)
        ours.append((predict_labels(fitted(vectors, labels), queries)[scarce] == 3).mean())
        theirs.append((plain.predict(queries)[scarce] == 3).mean())
    assert np.mean(ours) >= np.mean(theirs) - 0.02  # of eight draws, whose means differ by more
    assert np.mean(ours) > 0.5


def test_label_shares_of_the_examples_favour_what_is_frequent_and_equal_ones_do_not() -> None:
    vectors, labels, queries, answers = drawn({3: 40, 8: 8}, seed=1)
    equal, shared = fitted(vectors, labels), fitted(vectors, labels, label_shares="examples")
    rise = shared.predict(queries).scores[:, 0] - equal.predict(queries).scores[:, 0]
    assert (rise >= -1e-6).all()
    assert rise.max() > 0.05
    even = drawn({3: 20, 8: 20}, seed=1)[:2]
    np.testing.assert_allclose(
        fitted(*even).predict(queries).scores,
        fitted(*even, label_shares="examples").predict(queries).scores,
        atol=1e-5,
    )
    assert len(answers) == 120


def test_counts_say_how_many_examples_there_are_where_few_are_kept() -> None:
    vectors, labels, queries, _ = drawn({3: 20, 8: 20}, seed=1)
    counts = np.array([400, 4])
    plain = fitted(vectors, labels).predict(queries).scores.astype(np.float64)
    shared = fitted(vectors, labels, label_shares="examples", counts=counts).predict(queries).scores
    odds = np.log(shared[:, 0] / shared[:, 1]) - np.log(plain[:, 0] / plain[:, 1])
    np.testing.assert_allclose(odds, np.log(401 / 5), atol=1e-2)


def test_wrong_labels_cost_less_than_they_do_logistic_regression_and_are_named() -> None:
    clean, noisy, plain, named, blamed = [], [], [], [], []
    for seed in range(6):
        vectors, labels, queries, answers = drawn(dict.fromkeys(range(10), 10), seed)
        rng = np.random.default_rng(seed)
        wrong = rng.permutation(100)[:20]
        given = labels.copy()
        given[wrong] = (given[wrong] + rng.integers(1, 10, 20)) % 10
        head = fitted(vectors, given)
        clean.append((predict_labels(fitted(vectors, labels), queries) == answers).mean())
        noisy.append((predict_labels(head, queries) == answers).mean())
        other = LogisticRegression(C=10, class_weight="balanced", max_iter=500).fit(vectors, given)
        plain.append((other.predict(queries) == answers).mean())
        keys = {vector_key(unit(vectors[row])) for row in wrong}
        named.append(len(keys & {suspect.key for suspect in head.suspects}) / 20)
        blamed.append(len({suspect.key for suspect in head.suspects} - keys) / 80)
    assert np.mean(clean) - np.mean(noisy) < 0.12
    assert np.mean(noisy) > np.mean(plain)
    assert np.mean(named) > 0.6
    assert np.mean(blamed) < 0.05


def test_right_labels_are_hardly_ever_suspect() -> None:
    vectors, labels, _, _ = drawn(dict.fromkeys(range(10), 20), seed=3)
    assert len(fitted(vectors, labels).suspects) <= 4


def test_accuracy_does_not_fall_when_a_collection_grows_past_what_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module, name, value in (
        (supports_module, "EXACT", 200),
        (supports_module, "SAMPLE", 400),
        (gathering, "CORE", 200),
        (gathering, "ANCHORS", 100),
    ):
        monkeypatch.setattr(module, name, value)
    vectors, target = digits()
    queries, answers = vectors[1200:], target[1200:]
    accuracy = {}
    for size in (100, 190, 210, 400, 1200):
        accuracy[size] = (predict_labels(fitted(vectors[:size], target[:size]), queries) == answers).mean()
    assert accuracy[210] > accuracy[190] - 0.02
    assert accuracy[100] < accuracy[190]
    assert accuracy[1200] > accuracy[190] + 0.005


@pytest.mark.parametrize("each", [1, 5])
def test_neither_order_of_labels_nor_of_examples_makes_a_difference(each: int) -> None:
    vectors, means = clusters(120, each + 2, dim=64)
    queries = vectors[:, each:].reshape(-1, 64)
    flat, ids = vectors[:, :each].reshape(-1, 64), np.repeat(np.arange(120), each)
    straight = SupportSet(64)
    straight.add(ids, flat)
    names = [f"label {i}" for i in range(120)]
    expected = fit_head(names, means, straight, list(range(120)), PRIORS)

    rng = np.random.default_rng(1)
    order, labels = rng.permutation(len(flat)), rng.permutation(120)
    shuffled = SupportSet(64)
    for rows in np.array_split(order, 7):
        shuffled.add(1000 - ids[rows], flat[rows])
    found = fit_head(
        [names[i] for i in labels], means[labels], shuffled, [int(1000 - i) for i in labels], PRIORS
    )
    assert found.labels == [names[i] for i in labels]
    assert found.threshold == expected.threshold
    ours, theirs = found.predict(queries), expected.predict(queries)
    np.testing.assert_allclose(ours.scores, theirs.scores[:, labels], atol=1e-6)
    np.testing.assert_allclose(ours.none, theirs.none, atol=1e-6)
    assert ours.similarity is not None
    assert theirs.similarity is not None
    np.testing.assert_allclose(ours.similarity, theirs.similarity[:, labels], atol=1e-6)


def test_what_was_added_and_taken_out_again_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supports_module, "EXACT", 50)
    vectors, means = clusters(5, 30, noise=1.0)
    names, ids = list("abcde"), list(range(5))
    for each in (8, 24):
        plain = support_set(vectors[:, :each])
        changed = support_set(vectors[:, :each])
        extra, _ = clusters(5, 4, seed=9)
        changed.add(np.repeat(np.arange(5), 4), extra.reshape(-1, 32))
        changed.remove(np.repeat(np.arange(5), 4), extra.reshape(-1, 32))
        expected, found = (fit_head(names, means, vectors, ids, PRIORS) for vectors in (plain, changed))
        queries = vectors[:, 25:].reshape(-1, 32)
        np.testing.assert_allclose(found.predict(queries).scores, expected.predict(queries).scores, atol=1e-4)


def test_the_same_image_twice_counts_once() -> None:
    vectors, labels, queries, _ = drawn(dict.fromkeys(range(4), 6), seed=2)
    once = fitted(vectors, labels).predict(queries).scores
    twice = fitted(np.concatenate([vectors, vectors[:9]]), np.r_[labels, labels[:9]]).predict(queries).scores
    np.testing.assert_allclose(once, twice, atol=1e-6)


def mean_log_loss(head: Head, queries: Floats, answers: Ints) -> float:
    """Cross-entropy of the scores, the share for none left out."""
    scores = head.predict(queries).scores.astype(np.float64)
    right = scores[np.arange(len(answers)), answers] / scores.sum(axis=1)
    return float(-np.log(np.maximum(right, 1e-30)).mean())


@pytest.mark.parametrize("seed", range(3))
def test_a_second_example_of_one_label_leaves_the_scores_as_trustworthy(seed: int) -> None:
    """One pair of examples alone says nothing of the directions in which labels vary."""
    vectors, labels, queries, answers = drawn({digit: 2 if digit == 0 else 1 for digit in range(5)}, seed)
    single = np.delete(np.arange(len(labels)), 1)
    before = mean_log_loss(fitted(vectors[single], labels[single]), queries, answers)
    assert mean_log_loss(fitted(vectors, labels), queries, answers) < before + 0.3


@pytest.mark.parametrize("seed", range(3))
def test_nearly_the_same_picture_twice_is_no_proof_that_labels_hardly_vary(seed: int) -> None:
    vectors, _ = clusters(4, 12, noise=1.2, seed=seed)
    again = np.random.default_rng(seed).normal(size=(4, 2, 32)) / np.sqrt(32)
    twins = unit((vectors[:, :1] + 0.02 * again).astype(np.float32))
    priors = replace(PRIORS, variance=float(vectors.var(axis=1).mean()))
    once, twice = (
        fit_head(list("abcd"), None, support_set(examples), list(range(4)), priors)
        for examples in (vectors[:, :1], twins)
    )
    queries, answers = vectors[:, 2:].reshape(-1, 32), np.repeat(np.arange(4), 10)
    assert mean_log_loss(twice, queries, answers) < mean_log_loss(once, queries, answers) + 0.4
    assert np.mean(predict_labels(twice, queries) == answers) >= np.mean(
        predict_labels(once, queries) == answers
    )
