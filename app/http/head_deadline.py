"""The HTTP/1.1 connection: a client must send a whole request head, in time and within so many bytes.

uvicorn itself waits forever for a head that trickles in, keeps one of any size, queues as many requests as a client
sends ahead, and answers a malformed one in plain text. Its parser (llhttp, through httptools) is strict; what it lets
through although a proxy might read it otherwise is refused here, before a request begins.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app import errors
from app.http import problems
from app.http.errors import HeadersTooLargeError, SlowUploadError

MAX_SURPLUS_CONNECTIONS = 64
"""Connections beyond the limit that get an answer that says so. Each holds an open file until its client has
spoken, so that further ones are closed without an answer."""
MAX_PIPELINED = 64
"""Requests that wait for the answer to the one before them; a client that sends more ahead gets answers to these, and
the connection closes."""
HEAD_BYTES = 65_536
_UNCLEAR = "This is not an HTTP request that can be understood."


def protocol(head_s: float, head_bytes: int = HEAD_BYTES) -> type[TimedProtocol]:
    """The class to pass as `http=` to `uvicorn.Config`; heads have `head_s` seconds, from their first byte or
    from connecting, and `head_bytes` bytes.
    """
    return type("Protocol", (TimedProtocol,), {"head_s": head_s, "head_bytes": head_bytes})


class TimedProtocol(HttpToolsProtocol):
    """uvicorn's own protocol with a deadline for heads and an answer for surplus connections."""

    head_s = 10.0
    head_bytes = HEAD_BYTES
    _head_timer: asyncio.TimerHandle | None = None
    _surplus = False
    _in_head = False
    _head_size = 0
    _fruitless = 0
    """Bytes received since a request, a part of a body or the end of one came of them."""
    _had_fruit = False
    _deaf = False
    """Nothing more is read: the connection closes after the answers under way."""
    _refusal: errors.VisionError | None = None
    """Why one of the callbacks has stopped the parser."""
    _running: RequestResponseCycle | None = None
    """The request being answered, where `cycle` is the one read last."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        limit, self.limit_concurrency = self.limit_concurrency, None  # its own answer is plain text
        surplus = 0 if limit is None else len(self.connections) - limit
        self._surplus = surplus > 0
        if surplus > MAX_SURPLUS_CONNECTIONS:
            transport.abort()
            return
        self._arm()

    def data_received(self, data: bytes) -> None:
        if self._deaf or self.transport.is_closing():
            return
        if self._surplus:
            # not before the client has spoken: hanging up earlier, it would not see why
            self._refuse(errors.OverloadedError())
            return
        before: RequestResponseCycle | None = self.cycle
        self._unset_keepalive_if_required()
        self._had_fruit = False
        self._feed(data)
        self._fruitless = 0 if self._had_fruit else self._fruitless + len(data)
        if self._fruitless > self.head_bytes:  # an endless header, trailer or chunk extension, or empty lines
            self._refuse(HeadersTooLargeError())
        elif self.cycle is not before:
            self._disarm()
        elif before is None or before.response_complete:
            # part of a head, or a body that nobody reads any more: neither may take forever
            self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED or (self.cycle is not None and not self.cycle.keep_alive):
            self._deaf = True
            raise _StoppedError
        super().on_message_begin()
        self._in_head, self._head_size, self._had_fruit = True, 0, True

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # a trailer is read and forgotten
            self._count(len(name) + len(value) + 4)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head, self._had_fruit = False, True
        if self.parser.should_upgrade():
            return  # `_ignore_upgrade` reads the head again
        version = self.parser.get_http_version()
        if wrong := _complaint(version, self.url, self.headers):
            self._refusal = errors.BadRequestError(wrong)
            raise _StoppedError
        super().on_headers_complete()
        if version == "1.0":
            _end_by_closing(self.cycle)

    def on_body(self, body: bytes) -> None:
        self._had_fruit = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._had_fruit = True
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        is_last = self._deaf and not self.pipeline
        super().on_response_complete()
        if is_last:
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            if not self._deaf:
                self._refuse(self._refusal or errors.BadRequestError(_UNCLEAR))

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read a request that asks for another protocol as one that does not, which HTTP allows: its parser takes
        what follows the head for that protocol, and would lose the body.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(errors.BadRequestError(_UNCLEAR))
            return
        version = self.parser.get_http_version().encode()
        kept = [name + b": " + value + b"\r\n" for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"%s %s HTTP/%s\r\n%s\r\n%s" % (method, self.url, version, b"".join(kept), rest))

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self.head_bytes:
            self._refusal = HeadersTooLargeError()
            raise _StoppedError

    def _arm(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_s, self._late)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._head_timer = None
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None:
            self._refuse(SlowUploadError("The request did not arrive in time."))
        elif cycle.response_complete:
            self.transport.close()

    def _refuse(self, error: errors.VisionError) -> None:
        """Answer without a request to answer to, and hang up; answers that are under way leave first."""
        cycle: RequestResponseCycle | None = self.cycle
        self._deaf = True
        if self.transport.is_closing():
            return
        if cycle is not None and not cycle.response_complete:
            if self.pipeline and cycle.more_body:
                self.pipeline.popleft()  # the one whose body is broken was not begun
                return
            if self.pipeline or not cycle.more_body:
                return  # what is wrong is the request after it
            # nobody reads what its route may still say
            cycle.disconnected = True
            cycle.message_event.set()
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(_answer(error))
        self.transport.close()


class _StoppedError(Exception):
    """Raised in a callback to stop the parser."""


def _complaint(version: str, url: bytes, headers: list[tuple[bytes, bytes]]) -> str | None:
    """What is wrong with a head that the parser accepts, as a sentence: servers and proxies read it differently."""
    if version not in ("1.0", "1.1"):
        return _UNCLEAR
    if not url.startswith(b"/"):
        return "The request's target is not a path."
    if version == "1.1" and not any(name == b"host" for name, _ in headers):
        return "The request has no Host header."
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and (codings != [b"chunked"] or version == "1.0"):
        return "The request's Transfer-Encoding is not understood."
    return None


def _end_by_closing(cycle: RequestResponseCycle) -> None:
    """Let an answer of unstated length end with the connection: clients of HTTP/1.0 know no chunks."""
    send, is_unframed = cycle.send, False

    async def send_unframed(message: Any) -> None:
        nonlocal is_unframed
        if message["type"] == "http.response.start":
            is_unframed = not any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            if is_unframed:
                cycle.chunked_encoding = False
        elif is_unframed:
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.send = send_unframed  # type: ignore[method-assign]


def _answer(error: errors.VisionError) -> bytes:
    """The bytes of a whole answer."""
    body = json.dumps(problems.document(error)).encode()
    head = [
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        f"Content-Type: {problems.MEDIA_TYPE}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if error.retry_after_s is not None:
        head.append(f"Retry-After: {error.retry_after_s}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
