"""Which host a header names, and what names none."""

from __future__ import annotations

import pytest

from app.http.hosts import check_host, read_authority, read_host


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("localhost", "localhost"),
        ("LocalHost:8000", "localhost"),
        ("127.0.0.1:", "127.0.0.1"),
        ("vision_1.example:443", "vision_1.example"),
        ("[::1]:8000", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
    ],
)
def test_a_host_is_read_without_its_port(text: str, host: str) -> None:
    assert read_host(text) == host
    assert read_authority(f"http://{text}") == text.lower()
    assert check_host([text.encode()]) is None


@pytest.mark.parametrize(
    "text",
    [
        "evil\\@127.0.0.1",
        "evil@127.0.0.1",
        "evil:pass@127.0.0.1",
        "127.0.0.1 evil",
        "127.0.0.1\t",
        "127.0.0.1, evil",
        "127.0.0.1:http",
        "127.0.0.1:-1",
        "127.0.0.1:65536",
        "127.0.0.1:80:80",
        "127.0.0.1/",
        "127.0.0.1#",
        "127.0.0.1?",
        "127.0.0.1%2eevil",
        "::1",
        "[::1%lo]",
        "[::1%25lo]",
        "[::1]evil",
        "[localhost]",
        "[::1",
        "http://127.0.0.1",
        "l\u00f6calhost",
        "127.0.0.1:\u0661",
    ],
)
def test_what_could_be_read_in_two_ways_names_no_host(text: str) -> None:
    assert read_host(text) is None
    assert read_authority(f"http://{text}") is None
    if not text.isspace() and text == text.strip():
        assert check_host([text.encode()]) is not None


def test_one_header_or_none() -> None:
    assert check_host([]) is None
    assert check_host([b""]) is None
    assert check_host([b"127.0.0.1", b"127.0.0.1"]) is not None


@pytest.mark.parametrize("origin", ["null", "", "127.0.0.1", "://127.0.0.1", "http:127.0.0.1"])
def test_an_origin_has_a_scheme_and_a_host(origin: str) -> None:
    assert read_authority(origin) is None
