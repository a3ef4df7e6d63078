"""Rude clients over real sockets: too large, too slow, too many, and never-ending."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Body, FastAPI, Request

from app.http import problems
from app.http.disconnect import unless_disconnected
from app.http.forms import read_upload
from app.http.limits import LINGER_SECONDS, LimitsMiddleware
from app.http.spool import Spool
from app.observability.metrics import Metrics
from app.observability.middleware import ObservabilityMiddleware
from app.settings import Settings
from tests.wire import Wire, post, read_reply, serve, until

MIB = 1024 * 1024


class Served:
    """An app with nothing but the platform's layers, and what happened in it."""

    def __init__(self, data_dir: Path) -> None:
        self.settings = Settings(
            data_dir=data_dir,
            max_body_mb=2,
            max_part_mb=1,
            max_parts=8,
            max_images=4,
            max_field_kb=4,
            max_json_values=1000,
            max_header_kb=4,
            max_query_kb=2,
            max_spool_mb=3,
            max_uploads=3,
            receive_timeout_s=0.6,
        )
        self.spool = Spool(data_dir / "tmp", self.settings.limits.max_spool_mb * MIB)
        self.metrics = Metrics()
        self.working = 0
        self.cancelled = 0
        self.app = self._app()
        self.wire: Wire

    def _app(self) -> FastAPI:
        app = FastAPI()
        problems.install(app)
        app.add_middleware(LimitsMiddleware, settings=self.settings)
        app.add_middleware(ObservabilityMiddleware, metrics=self.metrics)

        @app.post("/upload")
        async def upload(request: Request) -> dict[str, Any]:
            with await read_upload(request, self.settings, self.spool) as got:
                return {"images": [len(image.read()) for image in got.images], "fields": got.fields}

        @app.post("/json")
        async def take_json(body: Annotated[dict[str, Any], Body()]) -> dict[str, int]:
            return {"members": len(body)}

        @app.post("/ignore")
        async def ignore() -> dict[str, bool]:
            return {"ok": True}

        @app.post("/work")
        async def work(request: Request) -> dict[str, bool]:
            await request.body()
            await unless_disconnected(request, self._work())
            return {"ok": True}

        @app.get("/work")
        async def work_without_body(request: Request) -> dict[str, bool]:
            await unless_disconnected(request, self._work())
            return {"ok": True}

        return app

    async def _work(self) -> None:
        self.working += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.working -= 1

    def status_counts(self) -> dict[str, float]:
        """Answers so far, by status."""
        counts: dict[str, float] = {}
        for metric in self.metrics.requests.collect():
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    status = sample.labels["status"]
                    counts[status] = counts.get(status, 0) + sample.value
        return counts


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("served"))
    with serve(made.app, head_s=0.6) as wire:
        made.wire = wire
        yield made
    assert made.spool.held == 0


def check_problem(reply: Any, status: int, code: str) -> None:
    got = reply.json()
    assert (reply.status if hasattr(reply, "status") else reply.status_code) == status, got
    assert got["error"]["code"] == code
    assert reply.headers["content-type"] == "application/problem+json"


def part(name: str, data: bytes, filename: str | None = "x.jpg", boundary: str = "b") -> bytes:
    extra = f'; filename="{filename}"' if filename else ""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return head.encode() + data + b"\r\n"


FORM = "Content-Type: multipart/form-data; boundary=b"
END = b"--b--\r\n"


# --- size


def test_a_stated_length_beyond_the_limit_is_refused_before_the_body(served: Served) -> None:
    reply = served.wire.send(post("/upload", "Content-Type: image/jpeg", length=3 * MIB))
    check_problem(reply, 413, "too_large")
    assert reply.headers["connection"] == "close"


def test_a_body_of_unstated_length_is_refused_where_it_passes_the_limit(served: Served) -> None:
    with served.wire.connect() as connection:
        connection.sendall(post("/upload", "Content-Type: image/jpeg", "Transfer-Encoding: chunked"))
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        sent = 0
        try:
            for _ in range(64):  # 4 MiB, twice the limit, and no end
                connection.sendall(chunk)
                sent += 1
        except (BrokenPipeError, ConnectionResetError):
            pass
        check_problem(read_reply(connection), 413, "too_large")
    assert sent >= 16


def test_a_client_that_sends_everything_first_still_reads_the_refusal(served: Served) -> None:
    reply = httpx.post(
        f"{served.wire.url}/upload", content=b"x" * (5 * MIB), headers={"content-type": "image/png"}
    )
    check_problem(reply, 413, "too_large")


def test_one_image_has_its_own_limit(served: Served) -> None:
    body = part("image", b"x" * (MIB + 1)) + END
    check_problem(served.wire.send(post("/upload", FORM, body=body)), 413, "too_large")
    raw = post("/upload", "Content-Type: image/jpeg", body=b"x" * (MIB + 1))
    check_problem(served.wire.send(raw), 413, "too_large")


def test_images_at_the_limit_come_through_whole(served: Served) -> None:
    body = part("image", b"x" * MIB) + part("images", b"") + part("label", b"cup", None) + END
    reply = httpx.post(
        f"{served.wire.url}/upload", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert reply.json() == {"images": [MIB, 0], "fields": {"label": ["cup"]}}


def test_parts_images_and_text_fields_are_counted(served: Served) -> None:
    many = b"".join(part(f"f{i}", b"x", None) for i in range(9)) + END
    check_problem(served.wire.send(post("/upload", FORM, body=many)), 413, "too_many_parts")
    images = b"".join(part("image", b"x") for _ in range(5)) + END
    check_problem(served.wire.send(post("/upload", FORM, body=images)), 413, "too_many_parts")
    text = part("label", b"x" * 5000, None) + END
    check_problem(served.wire.send(post("/upload", FORM, body=text)), 413, "too_large")


def test_json_that_would_unfold_into_too_many_values_is_refused(served: Served) -> None:
    bomb = b'{"a": [' + b"[]," * 2000 + b"0]}"
    for path in ("/json", "/upload"):
        reply = httpx.post(served.wire.url + path, content=bomb, headers={"content-type": "application/json"})
        check_problem(reply, 413, "too_many_values")
    deep = b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"
    reply = httpx.post(
        f"{served.wire.url}/upload", content=deep, headers={"content-type": "application/json"}
    )
    assert reply.status_code in (400, 422)


def test_the_spool_holds_no_more_than_its_bound(served: Served) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(served.wire.connect()) for _ in range(2)]
        for connection in connections:  # two large uploads that wait for their last bytes
            connection.sendall(
                post("/upload", FORM, length=2 * MIB - 1, body=part("image", b"x" * (MIB - 4096))[:-2])
            )
        until(lambda: served.spool.held > MIB)
        big = part("image", b"x" * (MIB - 10)) + part("image", b"y" * (MIB - 1000)) + END
        reply = httpx.post(
            f"{served.wire.url}/upload",
            content=big,
            headers={"content-type": "multipart/form-data; boundary=b"},
        )
        check_problem(reply, 503, "too_many_uploads")
        assert reply.headers["retry-after"] == "1"
    until(lambda: served.spool.held == 0)


def test_headers_and_query_are_bounded(served: Served) -> None:
    check_problem(served.wire.send(post("/ignore", "X-Long: " + "x" * 5000)), 431, "headers_too_large")
    many = [f"X-{i}: 1" for i in range(150)]
    check_problem(served.wire.send(post("/ignore", *many)), 431, "headers_too_large")
    check_problem(served.wire.send(post("/ignore?q=" + "x" * 3000)), 414, "uri_too_long")
    check_problem(served.wire.send(post("/ignore", "X-Huge: " + "x" * 200_000)), 431, "headers_too_large")


# --- time


def test_a_body_that_trickles_is_cut_off(served: Served) -> None:
    begun = time.monotonic()
    with served.wire.connect() as connection:
        connection.sendall(post("/upload", "Content-Type: image/jpeg", length=1000))
        connection.setblocking(False)
        data = b""
        while b"\r\n\r\n" not in data:
            if time.monotonic() > begun + 10:
                raise TimeoutError
            try:
                connection.send(b"x")
                data += connection.recv(65536)
            except BlockingIOError:
                time.sleep(0.05)
        assert b" 408 " in data
    assert time.monotonic() - begun > 0.5


def test_a_silent_body_is_cut_off_in_json_routes_too(served: Served) -> None:
    check_problem(
        served.wire.send(post("/json", "Content-Type: application/json", length=100, body=b'{"a')),
        408,
        "slow_upload",
    )


def test_a_head_that_trickles_is_cut_off(served: Served) -> None:
    with served.wire.connect() as connection:
        connection.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        check_problem(read_reply(connection), 408, "slow_upload")
    with served.wire.connect() as connection:  # connected, and never said a word
        check_problem(read_reply(connection), 408, "slow_upload")


def test_after_its_answer_a_body_nobody_reads_does_not_keep_the_connection(served: Served) -> None:
    with served.wire.connect() as connection:
        connection.sendall(post("/ignore", length=1000))
        assert read_reply(connection).status == 200
        until(lambda: _hung_up(connection))


def _hung_up(connection: socket.socket) -> bool:
    """Send one more byte; whether the server has closed the connection."""
    time.sleep(0.05)
    connection.settimeout(0.001)
    try:
        connection.sendall(b"x")
        return connection.recv(10) == b""
    except TimeoutError:
        return False
    except (BrokenPipeError, ConnectionResetError):
        return True


# --- share


def test_more_uploads_than_slots_are_refused_and_slots_come_back(served: Served) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            slow = stack.enter_context(served.wire.connect())
            slow.sendall(post("/upload", "Content-Type: image/jpeg", length=1000, body=b"x"))
        # a body that arrives whole needs no slot
        until(lambda: _status_of_slow(served.wire) == 503)
        whole = httpx.post(f"{served.wire.url}/upload", content=b"abc", headers={"content-type": "image/png"})
        assert whole.json()["images"] == [3]
    until(lambda: _status_of_slow(served.wire) == 200)


def _status_of_slow(wire: Wire) -> int:
    """Status of an upload in two pieces, the second sent once the first may have been seen."""
    with wire.connect() as connection:
        connection.sendall(post("/upload", "Content-Type: image/jpeg", length=2, body=b"x"))
        connection.settimeout(0.2)
        try:
            return read_reply(connection).status
        except TimeoutError:
            connection.settimeout(5)
            connection.sendall(b"y")
            return read_reply(connection).status


# --- shape


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

    head = httpx.head(f"{served.wire.url}/hello")
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
    )
    assert reply.json()["images"] == [1000]


def test_an_unread_body_does_not_cost_the_connection(served: Served) -> None:
    with httpx.Client(base_url=served.wire.url) as client:
        for _ in range(3):
            assert client.post("/ignore", content=b"x" * 100_000).status_code == 200
            assert client.post("/nowhere", content=b"x" * 100_000).status_code == 404


# --- leaving


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
    reply = httpx.post(f"{served.wire.url}/upload", content=b"abc", headers={"content-type": "image/png"})
    assert reply.json()["images"] == [3]
    assert LINGER_SECONDS < 5
