"""Heads and bodies over real sockets that servers and proxies read differently, and clients that send ahead."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from app.http import problems
from app.http.head_deadline import HEAD_BYTES, MAX_PIPELINED
from tests.wire import Reply, Wire, post, read_reply, serve

HOST = b"Host: 127.0.0.1\r\n"


def make_app() -> FastAPI:
    app = FastAPI()
    problems.install(app)
    app.state.seen = []

    @app.post("/echo")
    async def echo(request: Request) -> dict[str, Any]:
        body = (await request.body()).decode()
        app.state.seen.append(body)
        return {"body": body, "headers": sorted(request.headers)}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for number in range(3):
                yield b"piece %d;" % number

        return StreamingResponse(pieces())

    return app


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return make_app()


@pytest.fixture(scope="module")
def wire(app: FastAPI) -> Iterator[Wire]:
    with serve(app, head_s=5.0) as served:
        yield served


def read_all(connection: socket.socket) -> bytes:
    """What arrives until the server hangs up."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def flood(wire: Wire, start: bytes, piece: bytes, most: int) -> bytes:
    """Send `start`, then `piece` again and again, `most` bytes in all unless the server hangs up; its answer."""
    with wire.connect() as connection:
        connection.sendall(start)
        sent = len(start)
        with suppress(ConnectionError):
            while sent < most:
                connection.sendall(piece)
                sent += len(piece)
        answer = b""
        with suppress(ConnectionError):
            answer = read_all(connection)
        assert sent < most, "the server went on reading"
        return answer


def replies(data: bytes) -> list[Any]:
    """The JSON bodies of answers that follow one another."""
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields[b"content-length"])
        found.append(json.loads(rest[:length]))
        data = rest[length:]
    return found


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length : 5",
        "Content-Length: 5\r\n folded",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:\x0bchunked",
        "X: a\x00b",
        "X: a\nY: b",
        "X: a\rY: b",
        "Content-Length: 5\r\nHost: other.example",
    ],
)
def test_a_length_that_could_be_read_in_two_ways_is_refused(app: FastAPI, wire: Wire, headers: str) -> None:
    before = len(app.state.seen)
    with wire.connect() as connection:
        head = b"POST /echo HTTP/1.1\r\n" + HOST + headers.encode() + b"\r\n\r\n"
        connection.sendall(head + b"0\r\n\r\nGET /stream HTTP/1.1\r\n" + HOST + b"\r\n")
        if "Host" in headers:  # the middleware refuses these, which this app is without
            assert read_reply(connection).status in (200, 400)
            return
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1") == 1
    assert len(app.state.seen) == before


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://other.example/stream HTTP/1.1",
        b"GET * HTTP/1.1",
        b"CONNECT other.example:443 HTTP/1.1",
        b"GET /stream HTTP/2.0",
        b"GET /stream HTTP/0.9",
        b"get /stream HTTP/1.1",
        b"GET /\xff HTTP/1.1",
    ],
)
def test_another_first_line_than_a_path_in_this_version_is_refused(wire: Wire, line: bytes) -> None:
    reply = wire.send(line + b"\r\n" + HOST + b"\r\n")
    assert reply.status == 400, reply
    assert reply.json()["error"]["code"] == "bad_request"


def test_a_head_without_a_host_is_refused_and_one_of_http_1_0_is_not(wire: Wire) -> None:
    assert wire.send(b"GET /stream HTTP/1.1\r\n\r\n").status == 400
    assert wire.send(b"POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi").json()["body"] == "hi"


def test_chunks_of_http_1_0_are_refused(wire: Wire) -> None:
    head = b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert wire.send(head + b"2\r\nhi\r\n0\r\n\r\n").status == 400


def test_a_request_for_another_protocol_is_read_as_one_without(wire: Wire) -> None:
    asking = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    with wire.connect() as connection:
        whole = post("/echo", *asking, body=b"hello")
        connection.sendall(whole[:-3])
        connection.sendall(whole[-3:])
        reply = read_reply(connection)
        assert reply.status == 200
        assert reply.json()["body"] == "hello"
        connection.sendall(post("/echo", body=b"again"))
        assert read_reply(connection).json()["body"] == "again"
    websocket = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: eA==",
    )
    assert wire.send(post("/echo", *websocket, body=b"x")).json()["body"] == "x"


def test_trailers_become_no_headers(wire: Wire) -> None:
    body = b"2\r\nhi\r\n0\r\nX-Trailer: 1\r\nAuthorization: Bearer x\r\n\r\n"
    reply = wire.send(post("/echo", "Transfer-Encoding: chunked", "Connection: close", body=body))
    assert reply.json() == {"body": "hi", "headers": ["connection", "host", "transfer-encoding"]}


@pytest.mark.parametrize(
    ("start", "piece", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: ", b"x" * 4096, 431),
        (b"GET / HTTP/1.1\r\n" + HOST, b"X: y\r\n" * 500, 431),
        (b"GET /", b"x" * 4096, 431),
        (b"", b"\r\n" * 2048, 431),
        (post("/echo", "Transfer-Encoding: chunked") + b"2\r\nhi\r\n0\r\nX: ", b"x" * 4096, 431),
        (post("/echo", "Transfer-Encoding: chunked") + b"2;", b"x" * 4096, 431),
    ],
    ids=["a header", "headers", "a path", "empty lines", "a trailer", "a chunk's extension"],
)
def test_nothing_that_leads_nowhere_is_read_without_end(
    wire: Wire, start: bytes, piece: bytes, status: int
) -> None:
    answer = flood(wire, start, piece, most=64 * HEAD_BYTES)
    # a client that goes on sending may lose the answer to the reset
    assert not answer or answer.startswith(b"HTTP/1.1 %d " % status), answer


def test_requests_sent_ahead_are_answered_in_order(wire: Wire) -> None:
    words = [f"word {number}" for number in range(MAX_PIPELINED // 2)]
    with wire.connect() as connection:
        ahead = b"".join(post("/echo", body=word.encode()) for word in words)
        connection.sendall(ahead + post("/echo", "Connection: close", body=b"last"))
        assert [reply["body"] for reply in replies(read_all(connection))] == [*words, "last"]


def test_more_than_may_be_sent_ahead_end_the_connection_after_answers_to_the_first(wire: Wire) -> None:
    with wire.connect() as connection:
        connection.sendall(post("/echo", body=b"x") * 10 * MAX_PIPELINED)
        answered = replies(read_all(connection))
    assert MAX_PIPELINED <= len(answered) < 2 * MAX_PIPELINED
    assert {reply["body"] for reply in answered} == {"x"}


def test_nothing_after_the_last_request_is_run(app: FastAPI, wire: Wire) -> None:
    before = len(app.state.seen)
    with wire.connect() as connection:
        connection.sendall(post("/echo", "Connection: close", body=b"last") + post("/echo", body=b"smuggled"))
        assert [reply["body"] for reply in replies(read_all(connection))] == ["last"]
    assert app.state.seen[before:] == ["last"]


def test_what_is_wrong_with_the_next_request_does_not_cost_the_answer_to_this_one(wire: Wire) -> None:
    with wire.connect() as connection:
        connection.sendall(post("/echo", body=b"good") + b"nonsense\r\n\r\n")
        assert [reply["body"] for reply in replies(read_all(connection))] == ["good"]
    with wire.connect() as connection:
        broken = post("/echo", "Transfer-Encoding: chunked", body=b"zz\r\n")
        connection.sendall(post("/echo", body=b"good") + broken)
        assert [reply["body"] for reply in replies(read_all(connection))] == ["good"]


def test_a_broken_chunk_is_refused_in_the_middle_of_a_body(wire: Wire) -> None:
    with wire.connect() as connection:
        connection.sendall(post("/echo", "Transfer-Encoding: chunked", body=b"2\r\nhi\r\n"))
        connection.sendall(b"zz\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 400 ")


def test_a_stream_to_a_client_of_http_1_0_ends_with_the_connection(wire: Wire) -> None:
    with wire.connect() as connection:
        connection.sendall(b"GET /stream HTTP/1.0\r\n\r\n")
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    assert body == b"piece 0;piece 1;piece 2;"


def test_a_client_that_asks_first_is_told_to_go_on(wire: Wire) -> None:
    with wire.connect() as connection:
        connection.sendall(post("/echo", "Expect: 100-continue", length=2))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hi")
        reply: Reply = read_reply(connection)
    assert reply.json()["body"] == "hi"
