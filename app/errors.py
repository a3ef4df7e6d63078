"""Every failure a client can meet, as a named exception that owns its status, code and sentence.

The general ones; those of one room are in its own `errors` module. `app.http.problems` turns them into RFC 9457 problem
documents, `docs/errors.md` is made from them.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

_MAX_SHOWN_CHARS = 100
_MAX_NEAR = 3
_MAX_LISTED = 10
_LIKE = 0.75
"""Least likeness, as `difflib` counts it, of a name that is offered for another."""


def shorten_name(name: str) -> str:
    """A client's word as a sentence repeats it: its beginning, on one line."""
    return " ".join(name[:_MAX_SHOWN_CHARS].split())


def suggest_names(name: str, names: Sequence[str], *, none: str = "there is none yet") -> str:
    """`did you mean 'a' or 'b'?` of the names that are near, else `known are 'a', 'b'.`, else `none` as a sentence."""
    by_lower = {known.lower(): known for known in reversed(names)}
    near = difflib.get_close_matches(name.lower()[:_MAX_SHOWN_CHARS], by_lower, _MAX_NEAR, _LIKE)
    if near:
        return f"did you mean {' or '.join(repr(by_lower[word]) for word in near)}?"
    if not names:
        return f"{none}."
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"known are {', '.join(map(repr, names[:_MAX_LISTED]))}{more}."


class VisionError(Exception):
    """The service failed in a way it did not foresee."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    advice: ClassVar[str] = (
        "Report it with the request id (`instance`): the service's log tells the cause under that id."
    )
    """What a client does about it: a sentence of docs/errors.md."""

    def __init__(
        self,
        detail: str | None = None,
        *,
        retry_after_s: int | None = None,
        param: str | None = None,
        **context: Any,
    ) -> None:
        """`detail` replaces the docstring as the client's sentence; `param` names the field that is wrong; `context`
        goes to the log only.
        """
        self.detail = detail or " ".join((type(self).__doc__ or "").split())
        self.retry_after_s = retry_after_s
        self.param = param
        self.context = context
        super().__init__(self.detail)


class BadRequestError(VisionError):
    """The request could not be understood."""

    status, code, title = 400, "bad_request", "Bad request"
    advice = "Correct the request as the sentence says."


class UnauthorizedError(VisionError):
    """A valid API key is needed: send it as 'Authorization: Bearer <key>'."""

    status, code, title = 401, "unauthorized", "Unauthorized"
    advice = "Send a key that `vision keys create` or `POST /v1/keys` made and that is not revoked."


class ForbiddenError(VisionError):
    """This key is not allowed to do that."""

    status, code, title = 403, "forbidden", "Forbidden"
    advice = "Use a key with the scope that the sentence names."


class NotFoundError(VisionError):
    """There is nothing at this address."""

    status, code, title = 404, "not_found", "Not found"
    advice = (
        "Compare the address with the list of calls ([surface.md](surface.md), or `/docs` of the service)."
    )


class ConflictError(VisionError):
    """The request conflicts with what is stored."""

    status, code, title = 409, "conflict", "Conflict"
    advice = "Look at what is stored, then decide: the same request fails again."


class TooLargeError(VisionError):
    """The upload is larger than this service accepts."""

    status, code, title = 413, "too_large", "Content too large"
    advice = "Send less at once, or raise the limit ([settings.md](settings.md))."


class InvalidInputError(VisionError):
    """The request is well formed but cannot be processed."""

    status, code, title = 422, "invalid_input", "Unprocessable content"
    advice = "Correct the fields that the sentence names."


class OutsideDomainError(InvalidInputError):
    """The picture is unlike anything that the model knows, and `strict` asks for no guess."""

    code = "outside_domain"
    advice = "Leave out `strict` for a guess with a warning, or name a model that knows such pictures."


class CheckLimitError(InvalidInputError):
    """Checking the upload took more than this service allows."""

    code = "check_limit"
    advice = "Make the archive again; if it is in order, raise `VISION_UPLOAD_CHECK_...` ([settings.md](settings.md))."


class OverloadedError(VisionError):
    """The service is busy: try again shortly."""

    status, code, title = 503, "overloaded", "Service unavailable"
    advice = "Send the same request again after the seconds in `Retry-After`."

    def __init__(self, detail: str | None = None, *, retry_after_s: int | None = 1, **context: Any) -> None:
        super().__init__(detail, retry_after_s=retry_after_s, **context)


class NotReadyError(OverloadedError):
    """The service is starting or misses something that it needs."""

    code = "not_ready"
    advice = "Ask again after `Retry-After`; where it lasts, `checks` names the part to look at."

    def __init__(
        self, detail: str | None = None, *, checks: dict[str, str] | None = None, **context: Any
    ) -> None:
        """`checks` says of each part how it is; the problem document shows it."""
        super().__init__(detail, **context)
        self.checks = checks


@cache
def list_errors() -> dict[str, type[VisionError]]:
    """Every failure of every room by its place, such as `app.storage.errors:ArchiveError`; the general ones first.

    Imports the `errors` module of each room, and with it what the room's `__init__` imports.
    """
    app = importlib.import_module("app")
    places = [__name__]
    for room in pkgutil.iter_modules(app.__path__):
        if room.ispkg and any(
            file.name == "errors" for file in pkgutil.iter_modules([f"{app.__path__[0]}/{room.name}"])
        ):
            places.append(f"app.{room.name}.errors")
    return {
        locate_error(kind): kind
        for place in places
        for kind in vars(importlib.import_module(place)).values()
        if isinstance(kind, type) and issubclass(kind, VisionError) and kind.__module__ == place
    }


def locate_error(kind: type[VisionError]) -> str:
    """The key of `list_errors` for a failure."""
    return f"{kind.__module__}:{kind.__name__}"
