"""Images as base64 and data URIs: their bytes, or one sentence."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import InvalidInputError, TooLargeError
from app.media.images import from_base64
from tests.image_files import files

FILES = files()
FUZZ = settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize(
    "prefix", ["", "data:image/png;base64,", "DATA:;Base64,", "data:text/plain;charset=utf-8;base64,"]
)
def test_base64_and_data_uris_give_their_bytes(prefix: str) -> None:
    data = FILES["png"]
    assert from_base64(prefix + base64.b64encode(data).decode(), max_bytes=len(data)) == data
    assert from_base64(prefix + base64.encodebytes(data).decode(), max_bytes=len(data)) == data


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "ab=",
        "abc",
        "ab!d",
        "ab-_",
        "äöüß",
        "data:image/png,abcd",
        "data:image/png;base64",
        "data:",
        "abcd====",
        "ab cd",
    ],
)
def test_other_texts_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        from_base64(text, max_bytes=100)
    assert "base64" in refused.value.detail


@pytest.mark.parametrize("text", ["http://example.org/cat.jpg", "HTTPS://example.org", "file:///etc/passwd"])
def test_addresses_are_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not fetched"):
        from_base64(text, max_bytes=100)


def test_base64_is_bounded_before_and_after_decoding() -> None:
    data = bytes(100)
    text = base64.b64encode(data).decode()
    assert from_base64(text, max_bytes=100) == data
    for most in (99, 50, 1):
        with pytest.raises(TooLargeError):
            from_base64(text, max_bytes=most)
    with pytest.raises(TooLargeError):
        from_base64("\n" * 10_000 + text, max_bytes=100)


@FUZZ
@given(st.text(max_size=60))
def test_any_text_gives_bytes_or_a_named_error(text: str) -> None:
    with contextlib.suppress(InvalidInputError, TooLargeError):
        assert isinstance(from_base64(text, max_bytes=30), bytes)
