"""The mapping from sentence vectors to classifier rows, on made-up classes whose rows follow their names."""

from __future__ import annotations

import numpy as np
import pytest

from app.families import text_mapping


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray]:
    """Anchors float32[200, 32] and rows float32[200, 64] linear in them, plus noise and an offset."""
    rng = np.random.default_rng(0)
    anchors = text_mapping.unit(rng.normal(size=(200, 32)).astype(np.float32))
    rows = anchors @ rng.normal(size=(32, 64)) + 0.05 * rng.normal(size=(200, 64)) + 3.0
    return anchors, rows.astype(np.float32)


def test_unseen_names_find_their_rows(world: tuple[np.ndarray, np.ndarray]) -> None:
    anchors, rows = world
    mapping = text_mapping.fit(anchors[:150], rows[:150])
    mapped = mapping.apply(anchors[150:])
    truth = text_mapping.unit(rows[150:] - rows[:150].mean(axis=0))
    assert ((mapped @ truth.T).argmax(axis=1) == np.arange(50)).mean() > 0.9


def test_mapped_vectors_have_unit_norm(world: tuple[np.ndarray, np.ndarray]) -> None:
    mapped = text_mapping.fit(*world).apply(world[0][:7])
    assert mapped.dtype == np.float32
    assert mapped.shape == (7, 64)
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1.0, atol=1e-5)


def test_what_all_rows_share_does_not_matter(world: tuple[np.ndarray, np.ndarray]) -> None:
    anchors, rows = world
    shifted = text_mapping.fit(anchors, rows + 10.0).apply(anchors[:20])
    np.testing.assert_allclose(shifted, text_mapping.fit(anchors, rows).apply(anchors[:20]), atol=1e-3)


def test_fewer_classes_than_neighbours(world: tuple[np.ndarray, np.ndarray]) -> None:
    anchors, rows = world
    assert text_mapping.fit(anchors[:3], rows[:3]).apply(anchors[:2]).shape == (2, 64)


def test_a_zero_vector_stays_zero() -> None:
    assert not text_mapping.unit(np.zeros((1, 4), np.float32)).any()
