"""Vectors survive the way to PostgreSQL's text and back from its binary form, bit by bit."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.collections import vectors


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_the_text_of_a_vector_is_exact(numbers: list[float]) -> None:
    vector = np.array(numbers, np.float32)
    assert np.array_equal(np.array(json.loads(vectors.to_sql(vector)), np.float32), vector)


def test_the_wire_format_is_read() -> None:
    rows = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    wire = [struct.pack(">HH5f", 5, 0, *row) for row in rows.tolist()]
    assert np.array_equal(vectors.from_wire(wire, 5), rows)
    assert vectors.from_wire([], 5).shape == (0, 5)
    with pytest.raises(ValueError, match="reshape"):
        vectors.from_wire(wire, 4)


def test_an_index_is_called_after_its_encoder() -> None:
    one, other = (vectors.index_name(f"lite@{digit * 16}") for digit in "ab")
    assert one != other
    assert len(one) < 63
