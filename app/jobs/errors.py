"""The failures of jobs that a client can meet."""

from __future__ import annotations

from typing import Any

from app.errors import ConflictError, InvalidInputError, NotFoundError, VisionError


class JobNotFoundError(NotFoundError):
    """There is no such job."""

    code = "job_not_found"
    advice = "Take an id from `GET /v1/jobs`."


class ArtifactNotFoundError(NotFoundError):
    """There is no such artifact."""

    code = "artifact_not_found"
    advice = "Take a name from the list of the job's or the model's artifacts."


class JobStateError(ConflictError):
    """The job is not in a state in which that can be done."""

    code = "job_state"
    advice = "Look at the job (`GET /v1/jobs/{id}`) before asking again."


class IdempotencyKeyError(InvalidInputError):
    """This Idempotency-Key was used with another request."""

    code = "idempotency_key_reused"
    advice = "Send a new key with a new request, and the same key only with the same body."


class NotTrainableError(InvalidInputError):
    """These examples cannot be trained on."""

    code = "not_trainable"
    advice = "Teach what the sentence says is missing, or choose another strategy."


class TooManyFollowersError(VisionError):
    """Too many clients of this workspace follow jobs."""

    status, code, title = 429, "too_many_followers", "Too many requests"
    advice = "End a stream that is no longer read, poll the job instead, or raise `VISION_MAX_WORKSPACE_FOLLOWERS`."

    def __init__(self, detail: str | None = None, *, retry_after_s: int | None = 5, **context: Any) -> None:
        super().__init__(detail, retry_after_s=retry_after_s, **context)
