"""JSON of any size is read an element at a time, as Python's own decoder reads it whole."""

from __future__ import annotations

import io
import json
import math
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.datasets import json_stream
from workers.datasets.json_stream import MalformedJsonError, stream_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def whole(text: str) -> Any:
    """The document put together again."""
    found: dict[str | None, Any] = {}
    is_object = text.lstrip("\ufeff \n").startswith("{")
    for key, value, listed in stream_json(io.StringIO(text)):
        if listed:
            found[key].append(value)
        else:
            found[key] = value
    return found if is_object else found[None]


@given(VALUES, st.sampled_from([None, 1]), st.integers(1, 7))
@settings(max_examples=50, deadline=None)
def test_pieces_make_the_document(value: Any, indent: int | None, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK_CHARACTERS", chunk)
        for ascii_only in (True, False):
            assert whole(json.dumps(value, indent=indent, ensure_ascii=ascii_only)) == value


def test_what_pandas_and_people_write_is_taken() -> None:
    found = whole('\ufeff {"a": [NaN, -Infinity, 1.0], "b": "two\nlines"} \n')
    assert math.isnan(found["a"][0])
    assert found["a"][1:] == [-math.inf, 1.0]
    assert found["b"] == "two\nlines"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1, 2", '{"a": [1, 2}', '{"a" 1}', '{"a": 1} {"b": 2}', "[1,, 2]", "{1: 2}", "[" * 100_000, "[tru]",
     '["\\u12"]', '{"a": "b', "[1" + "0" * 5_000 + "]"],
)  # fmt: skip
def test_what_is_no_json_is_said(text: str) -> None:
    with pytest.raises(MalformedJsonError):
        whole(text)


def test_a_large_document_takes_little_memory() -> None:
    class Endless(io.TextIOBase):
        """Fifteen megabytes of annotations that exist nowhere."""

        def __init__(self) -> None:
            self._pieces = self._make()

        def _make(self) -> Iterator[str]:
            yield '{"images": [], "annotations": ['
            note = (
                json.dumps({"id": 1, "image_id": 2, "bbox": [1, 2, 3, 4], "segmentation": "x" * 1_500}) + ","
            )
            for _ in range(100):
                yield note * 100
            yield note[:-1] + "]}"

        def read(self, size: int | None = -1) -> str:
            return next(self._pieces, "")

    tracemalloc.start()
    try:
        count = sum(listed for _, _, listed in stream_json(Endless()))  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 10_001
    assert peak < 8 << 20
