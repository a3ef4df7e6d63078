"""Turns every failure into one RFC 9457 problem document, and describes those documents for OpenAPI."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import psycopg
import redis.exceptions
import sqlalchemy.exc
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
from app.storage import disk
from app.storage.errors import InsufficientStorageError, StoreUnavailableError

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

_NO_CONNECTION_LEFT = re.compile(r"too many (clients|connections)|remaining connection slots")
_REDIS_REFUSALS = {
    "OOM": "is out of memory",
    "READONLY": "can only be read",
    "MISCONF": "cannot write to its disk",
    "NOREPLICAS": "has too few replicas",
    "MASTERDOWN": "has lost its master",
    "CLUSTERDOWN": "is down",
}

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
        case sqlalchemy.exc.DataError() | psycopg.DataError() | UnicodeEncodeError():
            return errors.InvalidInputError("The request holds text or numbers that cannot be stored.")
        case sqlalchemy.exc.IntegrityError() | psycopg.IntegrityError():
            return errors.ConflictError(
                "What this request refers to was changed meanwhile: look again and retry."
            )
        case sqlalchemy.exc.TimeoutError():
            return StoreUnavailableError()
        case sqlalchemy.exc.OperationalError() | sqlalchemy.exc.InterfaceError():
            return _from_database(exc.orig or exc)
        case sqlalchemy.exc.DBAPIError() if isinstance(exc.orig, psycopg.errors.ReadOnlySqlTransaction):
            return _from_database(exc.orig)
        case sqlalchemy.exc.DBAPIError() if exc.connection_invalidated:
            return StoreUnavailableError()
        case sqlalchemy.exc.StatementError() if isinstance(exc.orig, UnicodeEncodeError):
            return errors.InvalidInputError("The request holds text that cannot be stored.")
        case psycopg.OperationalError() | psycopg.InterfaceError() | psycopg.errors.ReadOnlySqlTransaction():
            return _from_database(exc)
        case redis.exceptions.ConnectionError() | redis.exceptions.TimeoutError():
            return disk.fault_of(exc) or StoreUnavailableError("Redis is not reachable right now.")
        case redis.exceptions.OutOfMemoryError():
            return StoreUnavailableError("Redis is out of memory right now.")
        case redis.exceptions.ReadOnlyError():
            return StoreUnavailableError("Redis can only be read right now.")
        case redis.exceptions.ResponseError() if (refusal := str(exc).partition(" ")[0]) in _REDIS_REFUSALS:
            return StoreUnavailableError(f"Redis {_REDIS_REFUSALS[refusal]} right now.")
        case MemoryError():
            return errors.OverloadedError()
        case BaseExceptionGroup():
            return next((named for inner in exc.exceptions if (named := name_error(inner))), None)
    return disk.fault_of(exc)


def _from_database(error: BaseException) -> VisionError:
    """What a database that refuses is short of; one that is away has said nothing."""
    said = str(error)
    if isinstance(error, psycopg.errors.DiskFull) or "No space left on device" in said:
        return InsufficientStorageError(
            "The database's disk is full: free some space there, then try again.", retry_after_s=60
        )
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return StoreUnavailableError("The database can only be read right now.")
    # a refusal to connect carries no code, only the server's words
    if isinstance(error, psycopg.errors.TooManyConnections) or _NO_CONNECTION_LEFT.search(said):
        return StoreUnavailableError("The database takes no more connections right now.")
    return disk.fault_of(error) or StoreUnavailableError()


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
    for kind in (
        VisionError,
        RequestValidationError,
        sqlalchemy.exc.DataError,
        sqlalchemy.exc.IntegrityError,
        sqlalchemy.exc.OperationalError,
        sqlalchemy.exc.InterfaceError,
        sqlalchemy.exc.TimeoutError,
        psycopg.OperationalError,
        redis.exceptions.RedisError,
        OSError,
    ):
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
