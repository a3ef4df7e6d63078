"""Rewrites problem documents into what the clients of each protocol read, wherever in the service they were made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.problems import MEDIA_TYPE

Shape = Callable[[dict[str, Any]], dict[str, Any]]
"""From the problem document to the body that a protocol's clients expect."""
_PROBLEM = MEDIA_TYPE.encode()


def write_error_text(problem: dict[str, Any]) -> dict[str, Any]:
    """`error` is a string: huggingface_hub and tritonclient print it as it is."""
    return {"error": problem["detail"], "error_type": problem["error"]["code"]}


ERROR_TEXT_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "string"}, "error_type": {"type": "string"}},
                }
            }
        },
    }
    for status, description in (
        (400, "The request could not be understood."),
        (401, "A valid API key is needed."),
        (403, "The key, or where the request comes from, does not allow it."),
        (404, "There is no such model, collection or call."),
        (408, "The body came too slowly."),
        (409, "The collection has no examples, or its model changed."),
        (413, "The body or an image is too large."),
        (414, "The address is too long."),
        (415, "This is not an image of a supported format."),
        (422, "The image cannot be read, or the model cannot do this."),
        (431, "The headers are too large."),
        (500, "The service failed in a way it did not foresee."),
        (503, "The service is busy, or the model is not there yet: try again later."),
        (504, "The model did not answer in time."),
        (507, "The disk is full."),
    )
}
"""The `responses` of routes whose errors `write_error_text` writes."""


class ErrorShapeMiddleware:
    """Answers under a prefix with the errors of that prefix's protocol, as `application/json`.

    Outside of the routes, since limits, access and unforeseen failures answer before or after any of them.
    """

    def __init__(self, app: ASGIApp, shapes: Mapping[str, Shape]) -> None:
        """`shapes` maps the beginning of a path, such as `/hf/`, to its writer."""
        self.app = app
        self._shapes = tuple(shapes.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        shape = self._find_shape(scope)
        await self.app(scope, receive, send if shape is None else _reshape(send, shape))

    def _find_shape(self, scope: Scope) -> Shape | None:
        if scope["type"] != "http":
            return None
        path = scope["path"]
        return next((shape for prefix, shape in self._shapes if path.startswith(prefix)), None)


def _reshape(send: Send, shape: Shape) -> Send:
    """A `send` that holds a problem document back until it is whole, and passes everything else on."""
    start: Message | None = None
    body = bytearray()

    async def send_reshaped(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start" and _is_problem(message):
            start = message
            return
        if start is None:
            await send(message)
            return
        body.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        written = json.dumps(shape(json.loads(bytes(body))), separators=(",", ":")).encode()
        kept = [
            (name, value)
            for name, value in start["headers"]
            if name not in (b"content-type", b"content-length")
        ]
        headers = [
            *kept,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(written)).encode()),
        ]
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": written})

    return send_reshaped


def _is_problem(message: Message) -> bool:
    return any(name == b"content-type" and value.startswith(_PROBLEM) for name, value in message["headers"])
