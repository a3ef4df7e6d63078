"""The failures of inference that a client can meet."""

from __future__ import annotations

from app.errors import ConflictError, InvalidInputError, NotFoundError, OverloadedError, VisionError


class ModelNotFoundError(NotFoundError):
    """There is no model of that name."""

    code = "model_not_found"


class BaseModelChangedError(ConflictError):
    """The model was trained over another version of its base model: train it again."""

    code = "base_model_changed"


class QuestionTooLongError(InvalidInputError):
    """The question does not fit into what the model can read."""

    code = "question_too_long"


class ModelTaskError(InvalidInputError):
    """This model cannot do that."""

    code = "model_cannot"


class RemoteModelError(VisionError):
    """The remote model's server failed."""

    status, code, title = 502, "remote_model_failed", "Bad gateway"


class RemoteModelBusyError(OverloadedError):
    """The remote model's server is busy: try again shortly."""

    code = "remote_model_busy"


class DeadlineExceededError(OverloadedError):
    """The request waited longer than its deadline and was dropped."""

    code = "deadline_exceeded"


class OutOfMemoryError(OverloadedError):
    """The device ran out of memory for this request."""

    code = "out_of_memory"


class ModelUnavailableError(VisionError):
    """The model could not be loaded."""

    status, code, title = 503, "model_unavailable", "Service unavailable"
