"""Holds every request body to its size, its time and its share, while it streams in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import errors
from app.http import problems
from app.http.dependencies import CLOSING
from app.http.errors import (
    HeadersTooLargeError,
    SlowUploadError,
    TooManyUploadsError,
    TooManyValuesError,
    UnsupportedMediaTypeError,
    UriTooLongError,
)
from app.http.hosts import check_host
from app.settings import Settings
from app.storage.tallies import Tallies, Tally

MIB = 1024 * 1024
_MAX_HEADERS = 100
ARCHIVES = frozenset({("POST", "/v1/datasets"), ("POST", "/v1/models")})
"""Routes that take archives, which are larger and slower than images."""

COMPRESSED = "/v2/"
"""Routes below it unpack compressed bodies themselves, within the same bounds."""

# After an early refusal the rest of the body is read and thrown away for a moment, so that a client that is
# still sending gets to see the answer instead of a reset connection; then the connection closes: at once after a
# silence, and in any case where the whole takes too long.
LINGER_SECONDS = 4.0
LINGER_AT_MOST_SECONDS = 8.0
LINGER_BYTES = 32 * MIB
# Unread bodies up to this size are left to the server, which skips them and keeps the connection.
KEEP_BYTES = MIB // 4


@dataclass
class _Body:
    """What is known of one request's body so far."""

    declared: int | None
    json: bool
    most_bytes: int
    timeout_s: float
    received: int = 0
    values: int = 0
    complete: bool = False
    holds_slot: bool = False
    deadline: float | None = None

    @property
    def lingers(self) -> bool:
        """So much may still come that the connection is not worth keeping."""
        return not self.complete and (self.declared is None or self.declared > KEEP_BYTES)


def count_values(chunk: bytes) -> int:
    """At most so many values begin in a piece of JSON."""
    return chunk.count(b",") + chunk.count(b"[") + chunk.count(b"{")


def check_values(count: int, settings: Settings) -> None:
    """Raises TooManyValuesError."""
    if count > settings.limits.max_json_values:
        raise TooManyValuesError(f"The JSON body holds more than {settings.limits.max_json_values} values.")


class LimitsMiddleware:
    """Counts and times every request body, and answers 400, 408, 413, 414, 431 or 503 where it breaks a
    limit.
    """

    def __init__(self, app: ASGIApp, settings: Settings, uploads: Tally | None = None) -> None:
        self.app = app
        self.settings = settings
        self.uploads = uploads or Tallies.alone().get("uploads")
        """Bodies of which a part is still to come, in every process of the service."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def tell(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if body.lingers:
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            elif not message.get("more_body", False) and body.lingers:
                # the answer is out, the body is not in: linger before the connection closes
                await send({**message, "more_body": True})
                await self._drain(receive, body)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        body = _Body(None, False, 0, 0.0)
        closing: list[Callable[[], None]] = []
        scope[CLOSING] = closing
        try:
            body = self._open(scope)

            async def receive_counted() -> Message:
                return await self._next(receive, body)

            await self.app(scope, receive_counted, tell)
        except errors.VisionError as error:
            if started:
                raise
            answer = problems.response(error, scope.get("vision.request_id"))
            await answer(scope, receive, tell)
        finally:
            self._release(body)
            for close in closing:
                close()

    def _open(self, scope: Scope) -> _Body:
        """What the headers say, refused where that alone breaks a limit."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if size > self.settings.limits.max_header_kb * 1024 or len(headers) > _MAX_HEADERS:
            raise HeadersTooLargeError()
        if len(scope["query_string"]) > self.settings.limits.max_query_kb * 1024:
            raise UriTooLongError()

        if wrong := check_host([value for name, value in headers if name == b"host"]):
            raise errors.BadRequestError(wrong)
        lengths = {value for name, value in headers if name == b"content-length"}
        chunked = any(name == b"transfer-encoding" for name, _ in headers)
        kind = next((value for name, value in headers if name == b"content-type"), b"")
        if len(lengths) > 1 or (lengths and chunked):
            raise errors.BadRequestError("The request states its length in two ways.")
        packed = any(
            name == b"content-encoding" and value not in (b"", b"identity") for name, value in headers
        )
        if packed and not scope["path"].startswith(COMPRESSED):
            raise UnsupportedMediaTypeError("Compressed request bodies are not accepted.")
        archive = (scope["method"], scope["path"].rstrip("/")) in ARCHIVES
        most_mb = self.settings.uploads.max_archive_mb if archive else self.settings.limits.max_body_mb
        timeout_s = (
            self.settings.uploads.archive_timeout_s if archive else self.settings.limits.receive_timeout_s
        )
        body = _Body(None if chunked else 0, b"json" in kind.lower(), most_mb * MIB, timeout_s)
        if lengths:
            stated = lengths.pop()
            if not stated.isdigit() or len(stated) > 18:
                raise errors.BadRequestError("The request's Content-Length is not a number.")
            body.declared = int(stated)
        if body.declared is not None and body.declared > body.most_bytes:
            raise _too_large(body)
        body.complete = body.declared == 0
        return body

    async def _next(self, receive: Receive, body: _Body) -> Message:
        """The next message of the body, in time and counted."""
        if body.complete:
            return await receive()  # nothing more to limit: this waits for the client to leave
        loop = asyncio.get_running_loop()
        if body.deadline is None:
            body.deadline = loop.time() + body.timeout_s
        try:
            async with asyncio.timeout_at(body.deadline):
                message = await receive()
        except TimeoutError:
            raise SlowUploadError() from None
        if message["type"] != "http.request":
            body.complete = True
            self._release(body)
            return message
        chunk = message.get("body", b"")
        body.received += len(chunk)
        if body.received > body.most_bytes:
            raise _too_large(body)
        if body.json:
            # a small body can unfold into gigabytes of empty lists; every value costs a separator or a
            # bracket
            body.values += count_values(chunk)
            check_values(body.values, self.settings)
        if not message.get("more_body", False):
            body.complete = True
            self._release(body)
        elif not body.holds_slot:
            # a body that came whole in one message never needs a slot
            if self.uploads.total >= self.settings.limits.max_uploads:
                raise TooManyUploadsError()
            self.uploads.add(1)
            body.holds_slot = True
        return message

    def _release(self, body: _Body) -> None:
        if body.holds_slot:
            body.holds_slot = False
            self.uploads.add(-1)

    async def _drain(self, receive: Receive, body: _Body) -> None:
        """Throw away what still arrives, until nothing came for `LINGER_SECONDS`, for `LINGER_AT_MOST_SECONDS` or
        `LINGER_BYTES` bytes at most.
        """
        self._release(body)
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_AT_MOST_SECONDS):
                while left > 0:
                    async with asyncio.timeout(LINGER_SECONDS):
                        message = await receive()
                    left -= len(message.get("body", b""))
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        break
        except TimeoutError:
            pass
        body.complete = True


def _too_large(body: _Body) -> errors.TooLargeError:
    return errors.TooLargeError(f"The request is larger than {body.most_bytes // MIB} MiB.")
