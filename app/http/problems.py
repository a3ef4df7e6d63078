"""Turns every failure into one RFC 9457 problem document, and describes those documents for OpenAPI."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app import errors
from app.errors import VisionError
from app.http.errors import MethodNotAllowedError, UnsupportedMediaTypeError
from app.http.wrong_fields import complaint
from app.storage.failures import FAILURES, name_failure

MEDIA_TYPE = "application/problem+json"
_MAX_NAME_CHARS = 80
_MAX_FIELDS = 10
_LOG_WORDS = frozenset(
    {"event", "level", "timestamp", "logger", "request_id", "code", "reason", "exc_info", "self"}
)

_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}

MAX_RETRY_AFTER_SECONDS = 120
"""openai's clients give up on a longer Retry-After."""
_RETRIED_STATUSES = frozenset({408, 409, 429})

log = structlog.get_logger("app")


def document(error: VisionError, request_id: str | None = None) -> dict[str, Any]:
    """The members of the problem document: RFC 9457's own, and `error` as OpenAI-style clients read it."""
    fallback = "invalid_request_error" if error.status < 500 else "server_error"
    parts = {"checks": error.checks} if isinstance(error, errors.NotReadyError) and error.checks else {}
    return {
        "type": f"urn:llamafarm-vision:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": f"urn:llamafarm-vision:request:{request_id or 'unknown'}",
        "error": {
            "message": error.detail,
            "type": _ERROR_TYPES.get(error.status, fallback),
            "param": error.param,
            "code": error.code,
        },
        **parts,
    }


def response(
    error: VisionError, request_id: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    """`error` as an HTTP response."""
    headers = dict(headers or {})
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(min(error.retry_after_s, MAX_RETRY_AFTER_SECONDS))
    elif error.status in _RETRIED_STATUSES or error.status >= 500:
        headers["X-Should-Retry"] = "false"  # openai's clients repeat these by default
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = json.dumps(document(error, request_id), ensure_ascii=True, separators=(",", ":"))
    return Response(body, error.status, headers, MEDIA_TYPE)


def name_error(exc: BaseException) -> VisionError | None:
    """The named error that `exc` stands for; None when nobody foresaw it."""
    match exc:
        case VisionError():
            return exc
        case RequestValidationError() if any(error["type"] == "json_invalid" for error in exc.errors()):
            return errors.BadRequestError("The body is not valid JSON.")
        case RequestValidationError():
            return errors.InvalidInputError(_fields(exc.errors()))
        case HTTPException():
            # FastAPI wraps whatever reading the body raised into a 400; our own limits are in the cause
            cause = name_error(exc.__cause__) if exc.__cause__ else None
            return cause if cause is not None else _from_http(exc)
        case BaseExceptionGroup():
            return next((named for inner in exc.exceptions if (named := name_error(inner))), None)
    return name_failure(exc)


def _from_http(exc: HTTPException) -> VisionError:
    match exc.status_code:
        case 404:
            return errors.NotFoundError()
        case 405:
            return MethodNotAllowedError()
        case 413:
            return errors.TooLargeError()
        case 415:
            return UnsupportedMediaTypeError()
        case status if status < 500:
            return errors.BadRequestError("The request's body could not be read.")
    return VisionError()


def _fields(found: Sequence[Any]) -> str:
    """One sentence that names each field and what is wrong with it, without repeating what was sent."""
    sentences = []
    for error in found[:_MAX_FIELDS]:
        place = [
            str(part) for part in error["loc"] if not str(part).startswith("(")
        ]  # tags of a union's members
        if place and place[0] in {"body", "query", "path", "header"}:
            place = place[1:] or place
        name = ".".join(place)[:_MAX_NAME_CHARS].encode("ascii", "replace").decode()
        sentences.append(f"{name}: {complaint(error)}.")
    if len(found) > _MAX_FIELDS:
        sentences.append(f"And {len(found) - _MAX_FIELDS} more.")
    return " ".join(sentences)


def unforeseen(request_id: str) -> VisionError:
    """The reply to an unexpected failure: an id to look up in the log, and no internals."""
    return VisionError(f"The service failed in a way it did not foresee; its log has request {request_id}.")


def log_refusal(error: VisionError, exc: BaseException) -> None:
    """Note why the service itself failed a request; what a client did wrong is in its answer."""
    if error.status < 500:
        return
    # a context may hold any word: those that the log uses itself would take each other's place, or be refused
    about = {f"about_{word}" if word in _LOG_WORDS else word: value for word, value in error.context.items()}
    reason = about.pop("about_reason", None) or exc.__cause__ or exc
    log.warning("refused", code=error.code, reason=str(reason)[:500], **about)


async def _handle(request: Request, exc: Exception) -> Response:
    error = name_error(exc)
    request_id = request.scope.get("vision.request_id")
    if error is None:  # a kind of which only some have names: `app.observability.middleware` answers
        raise exc
    log_refusal(error, exc)
    return response(error, request_id, dict(exc.headers or {}) if isinstance(exc, HTTPException) else None)


async def _handle_disconnect(request: Request, exc: Exception) -> Response:
    """Nobody reads this: the client has left; 499 is what the log and the metrics show."""
    return Response(status_code=499)


async def _handle_http(request: Request, exc: Exception) -> Response:
    if isinstance(exc.__cause__, ClientDisconnect):
        return await _handle_disconnect(request, exc)
    return await _handle(request, exc)


def install(app: FastAPI) -> None:
    """Register the handlers; what they do not know is answered by `app.observability.middleware`."""
    app.add_exception_handler(ClientDisconnect, _handle_disconnect)
    app.add_exception_handler(HTTPException, _handle_http)
    for kind in (VisionError, RequestValidationError, *FAILURES):
        app.add_exception_handler(kind, _handle)


SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457); `error` repeats it in the words of OpenAI-style clients.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "error"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "Names the kind of problem."},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "A sentence for people."},
        "instance": {
            "type": "string",
            "format": "uri",
            "description": "Names this request; also in X-Request-ID.",
        },
        "error": {
            "type": "object",
            "required": ["message", "type", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {
                    "type": ["string", "null"],
                    "description": "The field that is wrong, where one is.",
                },
                "code": {"type": "string", "description": "Stable name of the problem, for programs."},
            },
        },
        "checks": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Of `/readyz` alone: every part that a request needs, and how it is.",
        },
    },
}


def responses(*kinds: type[VisionError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route or router that may fail with `kinds`: one entry a status, one example a
    code.
    """
    by_status: defaultdict[int, list[type[VisionError]]] = defaultdict(list)
    for kind in kinds:
        by_status[kind.status].append(kind)
    return {
        status: {
            "description": " ".join(dict.fromkeys((kind.__doc__ or kind.title).strip() for kind in group)),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {kind.code: {"value": document(kind(), "4f1c2d3e")} for kind in group},
                }
            },
        }
        for status, group in sorted(by_status.items())
    }
