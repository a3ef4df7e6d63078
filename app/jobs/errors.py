"""The failures of jobs that a client can meet."""

from __future__ import annotations

from app.errors import ConflictError, InvalidInputError, NotFoundError


class JobNotFoundError(NotFoundError):
    """There is no such job."""

    code = "job_not_found"


class ArtifactNotFoundError(NotFoundError):
    """There is no such artifact."""

    code = "artifact_not_found"


class JobStateError(ConflictError):
    """The job is not in a state in which that can be done."""

    code = "job_state"


class IdempotencyKeyError(InvalidInputError):
    """This Idempotency-Key was used with another request."""

    code = "idempotency_key_reused"


class NotTrainableError(InvalidInputError):
    """These examples cannot be trained on."""

    code = "not_trainable"
