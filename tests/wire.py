"""A real uvicorn in a thread, and raw sockets to be rude to it with.

Knows nothing of the service beyond the protocol class that it is served with.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from app.http.head_deadline import protocol

DEADLINE_S = 60.0


@dataclass
class Wire:
    """A served app."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        """A connected socket whose reads end after `DEADLINE_S`."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)

    def send(self, data: bytes) -> Reply:
        """Send `data` on a connection of its own and read until the server hangs up."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_reply(connection)


@dataclass
class Reply:
    """An HTTP answer read off a socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def read_reply(connection: socket.socket) -> Reply:
    """One answer: its head, and as much body as it announces."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError(f"hung up after {data!r}")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in rest)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return Reply(int(first.split()[1]), headers, body)


def post(path: str, *headers: str, body: bytes = b"", length: int | None = None) -> bytes:
    """The bytes of a POST request that claims `length` bytes of body (by default: the truth)."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@contextmanager
def serve(app: Any, *, head_s: float = 10.0, connections: int | None = None) -> Iterator[Wire]:
    """Serve `app` on a free port for a block, lifespan included."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=protocol(head_s),
        log_config=None,
        access_log=False,
        limit_concurrency=connections,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        if not server.started:
            raise RuntimeError("the app did not start")
        yield Wire(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)


def until(true: Callable[[], Any], deadline_s: float = DEADLINE_S) -> None:
    """Wait until `true()`; raises TimeoutError."""
    deadline = time.monotonic() + deadline_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("it never came true")
        time.sleep(0.005)
