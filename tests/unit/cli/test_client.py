"""How commands read what a service answers; the service is a real HTTP server that answers from a list."""

from __future__ import annotations

import json

import pytest
import typer

from app.cli.client import RefusedError, Service, UnreachableError
from app.cli.session import Session
from tests.scripted import Answer, Scripted, serving

server = pytest.fixture(serving)

BUSY: Answer = (503, {"Retry-After": "0"}, b'{"detail": "The service is busy: try again shortly."}')
FINE: Answer = (200, {}, b'{"data": []}')


def test_a_busy_service_is_asked_again_when_it_is_safe(server: Scripted) -> None:
    server.answers = [BUSY, BUSY, FINE]
    service = Service(server.url, None)
    assert service.call("GET", "/v1/models", again=True) == {"data": []}
    server.answers = [BUSY, FINE]
    with pytest.raises(RefusedError, match="busy"):
        service.call("GET", "/v1/models")
    service.close()


def test_a_service_that_stays_busy_is_given_up(server: Scripted) -> None:
    server.answers = [BUSY] * 9
    service = Service(server.url, None)
    with pytest.raises(RefusedError, match="busy"):
        service.call("GET", "/v1/models", again=True)
    assert 1 < len(server.asked) < 9
    service.close()


def test_pages_are_followed_and_the_key_is_sent(server: Scripted) -> None:
    server.answers = [
        (200, {}, json.dumps({"data": [{"id": 1}], "next": "abc"}).encode()),
        (200, {}, json.dumps({"data": [{"id": 2}], "next": None}).encode()),
    ]
    service = Service(server.url, "vis_secret")
    assert [row["id"] for row in service.pages("/v1/models", label=None)] == [1, 2]
    assert server.asked == [
        ("/v1/models", "Bearer vis_secret"),
        ("/v1/models?cursor=abc", "Bearer vis_secret"),
    ]
    service.close()


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b'["a list"]', b""])
def test_an_error_that_is_no_problem_document_is_named_by_its_status(server: Scripted, body: bytes) -> None:
    server.answers = [(502, {}, body)]
    service = Service(server.url, None)
    with pytest.raises(RefusedError, match="502 Bad Gateway"):
        service.call("GET", "/")
    service.close()


def test_a_proxy_named_in_the_environment_does_not_see_the_key(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.answers = [FINE]
    service = Service(server.url, "vis_secret")
    assert service.call("GET", "/") == {"data": []}
    service.close()


@pytest.mark.parametrize(
    ("url", "code"), [("http://127.0.0.1:1", 3), ("ftp://127.0.0.1", 2), ("http://[", 2)]
)
def test_addresses_without_a_service_end_the_command(
    url: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, Session(url) as session:
        session.service.call("GET", "/")
    assert ended.value.exit_code == code
    assert capsys.readouterr().err.startswith("vision: ")


def test_not_answering_is_told_from_refusing(server: Scripted) -> None:
    service = Service("http://127.0.0.1:1", None)
    with pytest.raises(UnreachableError, match="no service answers"):
        service.call("GET", "/")
    service.close()
