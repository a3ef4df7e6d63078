"""Rude clients over real sockets: too large, too slow, too many."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress

import httpx
import pytest

from app.http import limits
from tests.unit.http.limits.served import END, FORM, MIB, Served, check_problem, part
from tests.wire import Wire, post, read_reply, until


def test_a_stated_length_beyond_the_limit_is_refused_before_the_body(served: Served) -> None:
    reply = served.wire.send(post("/upload", "Content-Type: image/jpeg", length=3 * MIB))
    check_problem(reply, 413, "too_large")
    assert reply.headers["connection"] == "close"


def test_who_trickles_on_after_a_refusal_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINGER_AT_MOST_SECONDS", 1.0)
    monkeypatch.setattr(limits, "LINGER_SECONDS", 600.0)
    with served.wire.connect() as connection:
        connection.sendall(post("/upload", "Content-Type: image/jpeg", length=3 * MIB))
        check_problem(read_reply(connection), 413, "too_large")
        until(lambda: _hung_up(connection))


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
        f"{served.wire.url}/upload",
        content=b"x" * (5 * MIB),
        headers={"content-type": "image/png"},
        timeout=60,
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
        f"{served.wire.url}/upload",
        content=body,
        headers={"content-type": "multipart/form-data; boundary=b"},
        timeout=60,
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
        reply = httpx.post(
            served.wire.url + path, content=bomb, headers={"content-type": "application/json"}, timeout=60
        )
        check_problem(reply, 413, "too_many_values")
    deep = b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"
    reply = httpx.post(
        f"{served.wire.url}/upload", content=deep, headers={"content-type": "application/json"}, timeout=60
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
            timeout=60,
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


def test_a_body_that_trickles_is_cut_off(hasty: Served) -> None:
    begun = time.monotonic()
    with hasty.wire.connect() as connection:
        connection.sendall(post("/upload", "Content-Type: image/jpeg", length=1000))
        connection.setblocking(False)
        data = b""
        while b"\r\n\r\n" not in data:
            if time.monotonic() > begun + 60:
                raise TimeoutError
            try:
                data += connection.recv(65536)
            except BlockingIOError:
                with suppress(OSError):  # it was cut off at this moment: why is read next
                    connection.send(b"x")
                time.sleep(0.05)
        assert b" 408 " in data
    assert time.monotonic() - begun > 0.5


def test_a_silent_body_is_cut_off_in_json_routes_too(hasty: Served) -> None:
    check_problem(
        hasty.wire.send(post("/json", "Content-Type: application/json", length=100, body=b'{"a')),
        408,
        "slow_upload",
    )


def test_a_head_that_trickles_is_cut_off(hasty: Served) -> None:
    with hasty.wire.connect() as connection:
        connection.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        check_problem(read_reply(connection), 408, "slow_upload")
    with hasty.wire.connect() as connection:  # connected, and never said a word
        check_problem(read_reply(connection), 408, "slow_upload")


def test_after_its_answer_a_body_nobody_reads_does_not_keep_the_connection(hasty: Served) -> None:
    with hasty.wire.connect() as connection:
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


def test_more_uploads_than_slots_are_refused_and_slots_come_back(served: Served) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            slow = stack.enter_context(served.wire.connect())
            slow.sendall(post("/upload", "Content-Type: image/jpeg", length=1000, body=b"x"))
        # a body that arrives whole needs no slot
        until(lambda: _status_of_slow(served.wire) == 503)
        whole = httpx.post(
            f"{served.wire.url}/upload", content=b"abc", headers={"content-type": "image/png"}, timeout=60
        )
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
            connection.settimeout(60)
            connection.sendall(b"y")
            return read_reply(connection).status
