"""The HTTP/1.1 connection with a clock: whoever connects must send a whole request head in time.

uvicorn itself waits forever for a head that trickles in, and answers a malformed one in plain text.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from app import errors
from app.http import problems
from app.http.errors import SlowUploadError


def protocol(head_s: float) -> type[TimedH11Protocol]:
    """The class to pass as `http=` to `uvicorn.Config`; heads have `head_s` seconds, from their first byte or
    from connecting.
    """
    return type("Protocol", (TimedH11Protocol,), {"head_s": head_s})


MAX_SURPLUS_CONNECTIONS = 64
"""Connections beyond the limit that are told so. Each holds an open file until its client has spoken, so that those
beyond these are closed without an answer."""


class TimedH11Protocol(H11Protocol):
    """uvicorn's own protocol with a deadline for heads and an answer for surplus connections."""

    head_s = 10.0
    _head_timer: asyncio.TimerHandle | None = None
    _surplus = False

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
        if self._surplus:
            # not before the client has spoken: hanging up earlier, it would not see why
            self._refuse(errors.OverloadedError())
            return
        before: RequestResponseCycle | None = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._disarm()
        elif before is None or before.response_complete:
            # part of a head, or a body that nobody reads any more: neither may take forever
            self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(errors.BadRequestError("This is not an HTTP request that can be understood."))

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
        """Answer without a request to answer to, and hang up."""
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            body = json.dumps(problems.document(error)).encode()
            head = [
                f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
                f"Content-Type: {problems.MEDIA_TYPE}",
                f"Content-Length: {len(body)}",
                "Connection: close",
            ]
            if error.retry_after_s is not None:
                head.append(f"Retry-After: {error.retry_after_s}")
            self.transport.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        self.transport.close()
