"""Near-duplicates are found exactly, in blocks and by sketches; labels overlap where their examples do."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from app.heads import alike
from app.heads.alike import near_duplicates, overlaps
from app.heads.fitting import fit_head
from app.heads.types import Floats, Ints, unit
from tests.unit.heads.head_data import clusters, generic_priors, support_set


def exact_groups(vectors: Floats, least: float) -> set[frozenset[int]]:
    """By all pairs, the slow way."""
    near = vectors @ vectors.T > least
    groups: list[set[int]] = []
    for row in range(len(vectors)):
        joined = {row, *np.flatnonzero(near[row]).tolist()}
        apart = [group for group in groups if not group & joined]
        groups = [*apart, joined.union(*(group for group in groups if group & joined))]
    return {frozenset(group) for group in groups if len(group) > 1}


def groups_of(rows: Ints) -> set[frozenset[int]]:
    groups: list[set[int]] = []
    for pair in rows.tolist():
        apart = [group for group in groups if not group & set(pair)]
        groups = [*apart, set(pair).union(*(group for group in groups if group & set(pair)))]
    return {frozenset(group) for group in groups}


@pytest.mark.parametrize("centre", [0.0, 3.0], ids=["spread out", "all much alike"])
def test_every_near_duplicate_is_found(centre: float) -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(2_300, 300)).astype(np.float32)
    vectors += centre * random.normal(size=300).astype(np.float32)
    for copies in ((5, 2_299), (100, 700, 1_500), (601, 600)):
        for copy in copies[1:]:
            vectors[copy] = vectors[copies[0]] + 0.05 * random.normal(size=300) * (1 + centre)
    vectors = unit(vectors)
    found = near_duplicates(vectors, np.zeros(len(vectors), np.int64))
    assert found.is_whole
    expected = exact_groups(vectors, 0.98)
    assert frozenset({100, 700, 1_500}) in expected
    assert groups_of(found.rows) == expected
    assert len(found.rows) == sum(len(group) - 1 for group in expected)
    direct = np.einsum("ij,ij->i", vectors[found.rows[:, 0]], vectors[found.rows[:, 1]])
    np.testing.assert_allclose(found.cosines, direct, atol=1e-5)


def test_pairs_of_different_labels_come_first() -> None:
    axes = np.eye(4, dtype=np.float32)
    vectors = unit(np.stack([axes[0], axes[0], axes[1], axes[1] + 0.1 * axes[2], axes[3]]))
    found = near_duplicates(vectors, np.array([0, 0, 1, 2, 2]))
    assert found.rows.tolist() == [[2, 3], [0, 1]]


def test_nothing_and_one_example_have_no_pairs() -> None:
    for count in (0, 1):
        found = near_duplicates(np.ones((count, 8), np.float32), np.zeros(count, np.int64))
        assert (found.rows.shape, found.is_whole) == ((0, 2), True)


def test_the_same_picture_again_and_again_is_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike, "MAX_PAIRS", 5_000)
    vectors = unit(np.ones((1_500, 8), np.float32))
    found = near_duplicates(vectors, np.zeros(1_500, np.int64))
    assert not found.is_whole
    assert len(found.rows) < 1_500


def test_no_square_of_all_examples_is_in_memory() -> None:
    count = 6_000
    vectors = unit(np.random.default_rng(0).normal(size=(count, 160)).astype(np.float32))
    tracemalloc.start()
    try:
        near_duplicates(vectors, np.zeros(count, np.int64))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * count * count / 4, "a quarter of the square in float32"


@pytest.mark.parametrize("each", [2, 3, 5, 20])
def test_labels_of_the_same_pictures_overlap_and_others_do_not(each: int) -> None:
    vectors, _ = clusters(6, 2 * each, seed=each)
    # the labels 1 and 4 are two names for one cluster
    taught = np.stack([vectors[label][:each] for label in (0, 1, 2, 3, 1, 5)])
    taught[4] = vectors[1][each:]
    head = fit_head(list("abcdef"), None, support_set(taught), list(range(6)), generic_priors())
    flat = taught.reshape(-1, taught.shape[2])
    found = overlaps(head, flat, np.repeat(np.arange(6), each))
    assert {pair.labels for pair in found} <= {(1, 4)}
    if each > 2:  # of two examples each the means may differ by chance
        (pair,) = found
        assert pair.left_out == 2 * each
        assert pair.confused >= 0.15 * 2 * each
        assert pair.across == pytest.approx(pair.within, abs=0.15)


def test_labels_of_two_examples_overlap_by_their_means() -> None:
    vectors, _ = clusters(3, 2)
    taught = np.stack([vectors[0], vectors[1], vectors[0]])
    head = fit_head(list("abc"), None, support_set(taught), [0, 1, 2], generic_priors())
    (pair,) = overlaps(head, taught.reshape(-1, taught.shape[2]), np.repeat(np.arange(3), 2))
    assert (pair.labels, pair.left_out) == ((0, 2), 0)


def test_labels_without_a_compared_example_have_no_similarity() -> None:
    vectors, _ = clusters(2, 12)
    taught = np.stack([vectors[0][:6], vectors[0][6:], vectors[1][:6]])
    head = fit_head(list("abc"), None, support_set(taught), [0, 1, 2], generic_priors())
    (pair,) = overlaps(head, taught[0], np.zeros(6, np.int64))
    assert pair.labels == (0, 1)
    assert np.isnan(pair.across)
