"""Sets of labels: they hold the truth as often as was asked for, and say when nothing can be promised."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from app.heads import Head, fit_head
from app.heads.conformal import AnswerSet, Conformal, fit_conformal
from app.heads.types import Doubles, Ints, softmax
from tests.unit.heads.head_data import clusters, generic_priors, support_set

COVERAGES = (0.8, 0.9, 0.95)


def draw(labels: int, each: int, seed: int, *, unlike: float = 1.5) -> tuple[Doubles, Ints]:
    """Logits float64[n, C] that point to the right label more or less, and the right labels."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(labels), each)
    logits = rng.normal(size=(len(truth), labels))
    logits[np.arange(len(truth)), truth] += unlike + rng.normal(size=len(truth))
    return logits, truth


def covered(sets: list[AnswerSet], truth: Ints) -> np.ndarray:
    return np.array([label in found.labels for found, label in zip(sets, truth.tolist(), strict=True)])


def conformal_of(labels: int, each: int, seed: int) -> Conformal:
    logits, truth = draw(labels, each, seed)
    return fit_conformal(logits, truth, np.full(labels, each))


@pytest.mark.parametrize(("each", "guarantee"), [(25, "label"), (8, "average")])
@pytest.mark.parametrize("coverage", COVERAGES)
def test_coverage_is_what_was_asked_for(each: int, guarantee: str, coverage: float) -> None:
    logits, truth = draw(6, 100, 1000)
    hits = []
    for seed in range(40):
        conformal = conformal_of(6, each, seed)
        assert conformal.guarantee == guarantee
        hits.append(covered(conformal.answer_sets(softmax(logits).astype(np.float32), coverage), truth))
    by_label = np.mean(hits, axis=0).reshape(6, 100).mean(axis=1)
    assert np.mean(hits) == pytest.approx(coverage, abs=0.02)
    if guarantee == "label":
        np.testing.assert_allclose(by_label, coverage, atol=0.06)


def test_a_head_covers_what_it_has_not_seen() -> None:
    hits = []
    for seed in range(6):
        vectors, _ = clusters(4, 60, noise=1.6, seed=seed)
        head = head_of(vectors[:, :25])
        assert head.conformal is not None
        scores = head.predict(vectors[:, 25:].reshape(-1, 32)).scores
        sets = head.conformal.answer_sets(scores, 0.9, allow_empty=True)
        assert {found.guarantee for found in sets} == {"label"}
        hits.append(covered(sets, np.repeat(np.arange(4), 35)))
    assert np.mean(hits) == pytest.approx(0.9, abs=0.03)


def test_more_coverage_never_loses_a_label() -> None:
    conformal = conformal_of(5, 30, 3)
    scores = softmax(draw(5, 10, 4)[0]).astype(np.float32)
    wider = [conformal.answer_sets(scores, coverage) for coverage in (0.5, 0.8, 0.9, 0.95, 0.99)]
    for small, large in itertools.pairwise(wider):
        for few, many in zip(small, large, strict=True):
            assert set(few.labels) <= set(many.labels)


def test_the_best_label_comes_first_and_always_unless_empty_sets_are_allowed() -> None:
    conformal = conformal_of(4, 30, 5)
    scores = np.array([[0.3, 0.25, 0.25, 0.2], [0.96, 0.02, 0.01, 0.01]], np.float32)
    told = conformal.answer_sets(scores, 0.05)
    assert [found.labels[0] for found in told] == [0, 0]
    assert not len(conformal.answer_sets(scores[:1], 0.05, allow_empty=True)[0].labels)


def test_the_share_for_none_changes_no_set() -> None:
    conformal = conformal_of(4, 30, 6)
    scores = softmax(draw(4, 20, 7)[0]).astype(np.float32)
    for whole, part in zip(
        conformal.answer_sets(scores, 0.9), conformal.answer_sets(0.01 * scores, 0.9), strict=True
    ):
        np.testing.assert_array_equal(whole.labels, part.labels)


def test_too_few_examples_promise_nothing() -> None:
    assert conformal_of(2, 5, 0).guarantee == "none"
    assert conformal_of(3, 8, 0).guarantee == "average"
    logits, truth = draw(3, 30, 0)
    unseen = fit_conformal(logits, truth, np.array([30, 30, 30, 0]))
    assert unseen.guarantee == "none"
    assert fit_conformal(np.zeros((0, 3)), np.zeros(0, np.int64), np.ones(3, np.int64)).guarantee == "none"


def test_a_label_with_few_examples_shares_what_is_known_of_others_like_it() -> None:
    logits, truth = draw(6, 30, 0)
    few = (truth < 3) & (np.arange(len(truth)) % 30 >= 10)
    counts = np.array([10, 10, 10, 30, 30, 30])
    conformal = fit_conformal(logits[~few], truth[~few], counts)
    least = conformal.least(0.9)
    assert conformal.guarantee == "average"
    assert least[0] == least[1] == least[2]
    assert len(set(least[3:])) == 3


def test_an_only_example_counts_as_one_that_cannot_be_right() -> None:
    logits, truth = draw(2, 20, 0)
    conformal = fit_conformal(logits, truth, np.array([20, 20]))
    lonely = fit_conformal(np.c_[logits, np.full(40, -9.0)], truth, np.array([20, 20, 1]))
    assert conformal.guarantee == "label"
    assert lonely.guarantee == "average"
    assert np.isfinite(lonely.least(0.9)).sum() >= 2


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0, 1.5])
def test_a_coverage_that_is_no_probability_is_an_error(coverage: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        conformal_of(3, 20, 0).answer_sets(np.full((1, 3), 0.3, np.float32), coverage)


def test_sets_follow_the_labels_whatever_their_order() -> None:
    vectors, _ = clusters(3, 30, noise=1.4)
    straight, turned = head_of(vectors), head_of(vectors, order=[2, 0, 1])
    queries = clusters(3, 40, noise=1.4)[0][:, 30:].reshape(-1, 32)
    assert straight.conformal is not None
    assert turned.conformal is not None
    for answer_set, other in zip(
        straight.conformal.answer_sets(straight.predict(queries).scores, 0.9),
        turned.conformal.answer_sets(turned.predict(queries).scores, 0.9),
        strict=True,
    ):
        assert {straight.labels[i] for i in answer_set.labels} == {turned.labels[i] for i in other.labels}


def head_of(vectors: np.ndarray, order: list[int] | None = None) -> Head:
    order = order or list(range(len(vectors)))
    return fit_head([f"label {i}" for i in order], None, support_set(vectors), order, generic_priors())


@pytest.mark.parametrize("coverage", [1e-11, 1 - 1e-11])
def test_a_coverage_at_the_end_of_its_range_gives_sets_too(coverage: float) -> None:
    logits, _ = draw(6, 10, 1000)
    sets = conformal_of(6, 30, 0).answer_sets(softmax(logits).astype(np.float32), coverage)
    assert all(len(found.labels) >= 1 for found in sets)
