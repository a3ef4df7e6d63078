"""Rude clients over real sockets: garbage, bodies in odd shapes, and clients that leave."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from app.http.limits import LINGER_AT_MOST_SECONDS, LINGER_SECONDS
from tests.unit.http.limits.served import END, FORM, MIB, Served, check_problem, part
from tests.wire import post, read_reply, serve, until


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post("/upload", "Content-Length: 3", "Content-Length: 4", body=b"abcd"), 400),
        (post("/upload", "Content-Length: 3", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
        (post("/upload", "Content-Length: -1"), 400),
        (post("/upload", "Content-Length: abc"), 400),
        (post("/upload", "Content-Length: " + "9" * 40), 413),
        (post("/upload", "Transfer-Encoding: chunked", "Content-Type: image/png", body=b"zz\r\n"), 400),
        (post("/upload", "Content-Encoding: gzip", "Content-Type: image/png", body=b"x"), 415),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello tls\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 404),
        (b"GET /\r\n\r\n", 400),
        (b"\r\n" * 10 + b"BREW /upload HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /%00%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
    ],
)
def test_garbage_requests_get_problem_documents(served: Served, request_bytes: bytes, status: int) -> None:
    reply = served.wire.send(request_bytes)
    assert reply.status in {status, 400}, reply
    assert reply.json()["status"] == reply.status


@pytest.mark.parametrize(
    "host",
    [
        "evil\\@127.0.0.1",
        "evil@127.0.0.1",
        "127.0.0.1 evil",
        "127.0.0.1:eighty",
        "127.0.0.1:99999",
        "[::1%lo]",
        "[::1",
        "127.0.0.1/evil",
        "127.0.0.1\r\nHost: evil.example",
    ],
)
def test_a_host_that_could_be_read_in_two_ways_is_refused(served: Served, host: str) -> None:
    reply = served.wire.send(f"GET /hello HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert reply.status == 400, reply
    assert reply.json()["error"]["code"] == "bad_request"


def test_head_is_get_without_a_body(served: Served) -> None:
    @served.app.get("/hello")
    async def hello() -> dict[str, str]:
        return {"hello": "world"}

    head = httpx.head(f"{served.wire.url}/hello", timeout=60)
    assert head.status_code == 200
    assert head.headers["content-length"] == "17"
    assert head.content == b""


def test_a_chunked_body_is_as_good_as_any(served: Served) -> None:
    def pieces() -> Iterator[bytes]:
        yield part("image", b"x" * 1000)[:500]
        yield part("image", b"x" * 1000)[500:] + END

    reply = httpx.post(
        f"{served.wire.url}/upload",
        content=pieces(),
        headers={"content-type": "multipart/form-data; boundary=b"},
        timeout=60,
    )
    assert reply.json()["images"] == [1000]


def test_an_unread_body_does_not_cost_the_connection(served: Served) -> None:
    with httpx.Client(base_url=served.wire.url, timeout=60) as client:
        for _ in range(3):
            assert client.post("/ignore", content=b"x" * 100_000).status_code == 200
            assert client.post("/nowhere", content=b"x" * 100_000).status_code == 404


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_work_stops_when_the_client_leaves(served: Served, method: str) -> None:
    before, left = served.cancelled, served.status_counts().get("499", 0)
    with served.wire.connect() as connection:
        if method == "POST":
            connection.sendall(post("/work", body=b"x" * 1000))
        else:
            connection.sendall(b"GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: served.working == 1)
    until(lambda: served.cancelled == before + 1)
    until(lambda: served.working == 0)
    until(lambda: served.status_counts().get("499", 0) == left + 1)


def test_leaving_amid_an_upload_leaves_nothing_behind(served: Served) -> None:
    left = served.status_counts().get("499", 0)
    for path, head in [("/upload", FORM), ("/json", "Content-Type: application/json")]:
        with served.wire.connect() as connection:
            connection.sendall(post(path, head, length=MIB, body=part("image", b"x" * 500_000)[:-10]))
    until(lambda: served.status_counts().get("499", 0) == left + 2)
    until(lambda: served.spool.held == 0)


def test_more_connections_than_allowed_are_told_so(served: Served) -> None:
    with serve(served.app, connections=2) as wire, wire.connect() as first, wire.connect():
        reply = wire.send(post("/ignore"))
        check_problem(reply, 503, "overloaded")
        assert reply.headers["retry-after"] == "1"
        first.sendall(post("/ignore"))
        assert read_reply(first).status == 200


def test_resets_do_not_disturb_others(served: Served) -> None:
    for _ in range(20):
        connection = served.wire.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.sendall(post("/upload", FORM, length=MIB, body=b"--b\r\nContent-Disp"))
        connection.close()
    reply = httpx.post(
        f"{served.wire.url}/upload", content=b"abc", headers={"content-type": "image/png"}, timeout=60
    )
    assert reply.json()["images"] == [3]
    assert LINGER_SECONDS < 5
    assert LINGER_AT_MOST_SECONDS < 10
