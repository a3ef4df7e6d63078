"""Gives each request its id, access line and place in the metrics, and answers for failures without a name."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from functools import partial

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http import problems
from app.observability.metrics import Metrics

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET = frozenset({"/health", "/healthz", "/readyz", "/metrics"})

CLIENT_LEFT = 499
UNMATCHED = "unmatched"

_HARDENING: list[tuple[bytes, bytes]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
# an answer that is data is never a page; pages (the docs) state their own policy
_NO_PAGE = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

log = structlog.get_logger("app.access")


class ObservabilityMiddleware:
    """The outermost layer: everything a request meets happens inside it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        method = scope["method"]
        request_id = _request_id(scope["headers"])
        # HEAD is GET whose body the server drops; our own copy of the scope lets the server still see a HEAD
        scope = {**scope, "vision.request_id": request_id, "method": "GET" if method == "HEAD" else method}
        status, is_recorded = 0, False

        def record() -> None:
            nonlocal is_recorded
            if not is_recorded:
                is_recorded = True
                self._record(scope, method, status or CLIENT_LEFT, time.perf_counter() - begun)

        async def send_stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], (b"x-request-id", request_id.encode()), *_HARDENING]
                if not any(name == b"content-security-policy" for name, _ in message["headers"]):
                    headers.append(_NO_PAGE)
                message = {**message, "headers": headers}
                if status == CLIENT_LEFT:
                    return
            elif status == CLIENT_LEFT:
                return
            elif not message.get("more_body", False):
                record()  # first, so that a client that has the whole answer finds it counted
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, send_stamped)
            except ClientDisconnect:
                status = status or CLIENT_LEFT
            except Exception as exc:
                if status:
                    log.exception("broke off", path=scope["path"])
                    raise
                error = problems.name_error(exc)
                if error is None:
                    log.exception("failed", path=scope["path"])
                    error = problems.unforeseen(request_id)
                else:
                    problems.log_refusal(error, exc)
                await problems.response(error, request_id)(scope, receive, send_stamped)
            finally:
                record()

    def _record(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = route_template(scope)
        method = method if method in _METHODS else "OTHER"
        self.metrics.observe_request(route, method, status, seconds)
        write = log.debug if route in _QUIET and status < 500 else log.info
        line = {
            "method": method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "workspace": scope.get("vision.workspace"),
        }
        # in the loop's next turn: what was sent leaves before the line about it is formatted
        asyncio.get_running_loop().call_soon(partial(write, "request", **line))


def route_template(scope: Scope) -> str:
    """The matched route as its template, `/v1/collections/{collection}`; `unmatched` where there is none."""
    template = scope.get("vision.route")
    if template is None:
        context = scope.get("fastapi", {}).get("effective_route_context")
        route = context or scope.get("route")
        template = getattr(route, "path_format", None) or getattr(route, "path", None)
    return str(template) if template else UNMATCHED


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return value.decode("ascii")
    return secrets.token_hex(8)
