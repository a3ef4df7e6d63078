"""Supports: the same whatever the order, twins counted, and exemplars that are few, distinct and cover."""

from __future__ import annotations

import numpy as np
import pytest

from app.heads import SupportSet, supports
from app.heads.exemplars import spread
from tests.unit.heads.head_data import clusters, support_set


def test_supports_hold_the_same_whatever_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supports, "EXACT", 50)
    monkeypatch.setattr(supports, "SAMPLE", 60)
    vectors, _ = clusters(3, 40)
    flat, ids = vectors.reshape(-1, 32), np.repeat(np.arange(3), 40)
    whole, pieces = SupportSet(32), SupportSet(32)
    whole.add(ids, flat)
    order = np.random.default_rng(2).permutation(120)
    for start in range(0, 120, 7):
        chosen = order[start : start + 7]
        pieces.add(ids[chosen], flat[chosen])
    for label in range(3):
        np.testing.assert_array_equal(whole.vectors(label), pieces.vectors(label))
        assert len(whole.vectors(label)) == 20
        assert whole.count(label) == 40
    assert whole.moments is not None
    assert pieces.moments is not None
    np.testing.assert_allclose(whole.moments.within()[0], pieces.moments.within()[0], atol=1e-9)


def test_supports_shrink_and_say_when_to_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supports, "EXACT", 50)
    vectors, _ = clusters(2, 30)
    whole = support_set(vectors)
    before = whole.copy()
    assert not whole.stale
    whole.remove(np.zeros(20, np.int64), vectors[0, :20])
    assert whole.count(0) == 10
    assert whole.stale
    assert before.count(0) == 30
    assert len(before.vectors(0)) == 30


def test_supports_count_twins_and_keep_one_of_them() -> None:
    vectors, _ = clusters(1, 1)
    twins = SupportSet(32)
    twins.add(np.array([4, 4, 4]), np.repeat(vectors[0], 3, axis=0))
    assert twins.count(4) == 3
    assert len(twins.vectors(4)) == 1
    twins.remove(np.array([4, 4]), np.repeat(vectors[0], 2, axis=0))
    assert twins.count(4) == 1
    assert len(twins.vectors(4)) == 1
    twins.remove(np.array([4, 5]), np.repeat(vectors[0], 2, axis=0))
    assert twins.total == 0
    assert twins.vectors(4).shape == (0, 32)


def test_supports_refuse_vectors_of_another_length() -> None:
    with pytest.raises(ValueError, match="expected vectors"):
        SupportSet(8).add(np.array([1]), np.zeros((1, 9), np.float32))


def test_exemplars_are_few_distinct_and_cover() -> None:
    vectors, _ = clusters(20, 10, noise=0.1)
    flat = vectors.reshape(-1, 32)
    chosen = spread(flat, 20)
    assert len(set(chosen.tolist())) == 20
    assert len({int(row) // 10 for row in chosen}) == 20
    assert spread(flat[:5]).tolist() == [0, 1, 2, 3, 4]


def test_exemplars_of_equal_vectors_are_distinct_rows() -> None:
    equal = np.repeat(clusters(1, 1)[0][0], 40, axis=0)
    assert len(set(spread(equal).tolist())) == 16
