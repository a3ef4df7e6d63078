"""Every failure a client can meet, as a named exception that owns its status, code and sentence.

Knows nothing of HTTP frameworks: `app.main` turns these into RFC 9457 problem documents.
"""

from __future__ import annotations

from typing import Any, ClassVar


class VisionError(Exception):
    """The service failed in a way it did not foresee."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self, detail: str | None = None, *, retry_after_s: int | None = None, **context: Any
    ) -> None:
        """`detail` replaces the docstring as the client's sentence; `context` goes to the log only."""
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.retry_after_s = retry_after_s
        self.context = context
        super().__init__(self.detail)


class BadRequestError(VisionError):
    """The request could not be understood."""

    status, code, title = 400, "bad_request", "Bad request"


class UnauthorizedError(VisionError):
    """A valid API key is needed: send it as 'Authorization: Bearer <key>'."""

    status, code, title = 401, "unauthorized", "Unauthorized"


class ForbiddenError(VisionError):
    """This key is not allowed to do that."""

    status, code, title = 403, "forbidden", "Forbidden"


class NotFoundError(VisionError):
    """There is nothing here."""

    status, code, title = 404, "not_found", "Not found"


class ConflictError(VisionError):
    """The request conflicts with what is stored."""

    status, code, title = 409, "conflict", "Conflict"


class TooLargeError(VisionError):
    """The upload is larger than this service accepts."""

    status, code, title = 413, "too_large", "Content too large"


class InvalidInputError(VisionError):
    """The request is well formed but cannot be processed."""

    status, code, title = 422, "invalid_input", "Unprocessable content"


class OutsideDomainError(InvalidInputError):
    """The picture is unlike anything that the model knows, and `strict` asks for no guess."""

    code = "outside_domain"


class CheckLimitError(InvalidInputError):
    """Checking the upload took more than this service allows."""

    code = "check_limit"


class OverloadedError(VisionError):
    """The service is busy: try again shortly."""

    status, code, title = 503, "overloaded", "Service unavailable"

    def __init__(self, detail: str | None = None, *, retry_after_s: int | None = 1, **context: Any) -> None:
        super().__init__(detail, retry_after_s=retry_after_s, **context)


class NotReadyError(OverloadedError):
    """The service is starting or misses something that it needs."""

    code = "not_ready"

    def __init__(
        self, detail: str | None = None, *, checks: dict[str, str] | None = None, **context: Any
    ) -> None:
        """`checks` says of each part how it is; the problem document shows it."""
        super().__init__(detail, **context)
        self.checks = checks
