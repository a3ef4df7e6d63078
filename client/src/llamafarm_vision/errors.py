"""What can go wrong between a program and the service, as exceptions.

The service answers a failure with a problem document (docs/errors.md lists every code); `error_of` turns it into the
class of its family, so that a program catches a family and reads the code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class VisionError(Exception):
    """The base class of every failure that this package raises itself."""


class UnreachableError(VisionError):
    """No service answered, not in time, or it ended its answer early."""


class DamagedFileError(VisionError):
    """A downloaded file is not what the service says it is."""


class JobFailedError(VisionError):
    """A job that was waited for failed or was cancelled; `job` is the job as it ended."""

    def __init__(self, job: Any) -> None:
        self.job = job
        reason = (job.error or {}).get("detail")
        super().__init__(f"job {job.id} {job.state}" + (f": {reason}" if reason else ""))


class RefusedError(VisionError):
    """The service answered with an error; `str()` is its sentence.

    Attributes:
        status: The HTTP status.
        code: The stable name of the problem; empty where the answer was no problem document, as from a proxy.
        detail: The sentence for people.
        request_id: The id under which the service's log tells more; None where the answer has none.
        retry_after_s: Seconds after which the same request may be sent again; None where the service does not say.
        problem: The whole problem document; empty where the answer was none.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        retry_after_s: float | None = None,
        *,
        code: str = "",
        request_id: str | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.problem = dict(problem or {})
        super().__init__(detail)


class UnauthorizedError(RefusedError):
    """401: a valid API key is needed."""


class ForbiddenError(RefusedError):
    """403: the key lacks a scope, or the service only answers this machine."""


class NotFoundError(RefusedError):
    """404: there is no collection, example, model, job, dataset, strategy or key of that name."""


class ConflictError(RefusedError):
    """409: the request conflicts with what is stored."""


class TooLargeError(RefusedError):
    """413, 414 and 431: more was sent than the service accepts."""


class InvalidInputError(RefusedError):
    """400, 405, 408, 415 and 422: the request cannot be processed as it is."""


class BusyError(RefusedError):
    """429 and 503: the service is busy or not ready; the same request may succeed later."""


class StorageFullError(RefusedError):
    """507: the service's disk is full."""


class ServiceFailedError(RefusedError):
    """500, 502 and 504: the service, or one behind it, failed."""


_FAMILIES: dict[int, type[RefusedError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
    414: TooLargeError,
    429: BusyError,
    431: TooLargeError,
    503: BusyError,
    507: StorageFullError,
}


def error_of(status: int, reason: str, headers: Mapping[str, str], content: bytes) -> RefusedError:
    """The exception for an error reply; one that is no problem document is named by its status."""
    try:
        problem = json.loads(content)
    except ValueError:
        problem = {}
    retry = headers.get("Retry-After", "")
    return error_of_problem(
        problem if isinstance(problem, dict) else {},
        status,
        fallback=f"the service answered {status} {reason}",
        retry_after_s=float(retry) if retry.isdigit() else None,
        request_id=headers.get("X-Request-ID"),
    )


def error_of_problem(
    problem: Mapping[str, Any],
    status: int | None = None,
    *,
    fallback: str = "the service failed",
    retry_after_s: float | None = None,
    request_id: str | None = None,
) -> RefusedError:
    """The exception for a problem document, such as an answer that was streamed ends with where it fails."""
    status = int(problem.get("status") or 500) if status is None else status
    default = InvalidInputError if 400 <= status < 500 else ServiceFailedError
    error = problem.get("error")
    instance = str(problem.get("instance") or "")
    return _FAMILIES.get(status, default)(
        status,
        str(problem.get("detail") or problem.get("title") or "") or fallback,
        retry_after_s,
        code=str(error.get("code") or "") if isinstance(error, dict) else "",
        request_id=request_id or instance.partition(":request:")[2] or None,
        problem=problem,
    )
