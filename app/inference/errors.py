"""The failures of inference that a client can meet."""

from __future__ import annotations

from app.errors import ConflictError, InvalidInputError, NotFoundError, OverloadedError, VisionError


class ModelNotFoundError(NotFoundError):
    """There is no model of that name."""

    code = "model_not_found"
    advice = "Take an id from `GET /v1/models`; the sentence names those that are near."


class BaseModelChangedError(ConflictError):
    """The model was trained over another version of its base model: train it again."""

    code = "base_model_changed"
    advice = "Train the model again, or bring back the base model that it was trained over."


class QuestionTooLongError(InvalidInputError):
    """The question does not fit into the model's context."""

    code = "question_too_long"
    advice = "Ask a shorter question, or show fewer examples."


class ModelTaskError(InvalidInputError):
    """This model cannot do that."""

    code = "model_cannot"
    advice = "Name a model that does it: `GET /v1/models` lists their kinds and tasks."

    @classmethod
    def images_only(cls, name: str) -> ModelTaskError:
        """Of an encoder that texts are given to."""
        return cls(
            f"'{name}' reads images only: it knows labels by their examples, not by their names, and cannot compare "
            "images with a text."
        )


class ChatTemplateError(InvalidInputError):
    """The chat template of an uploaded model cannot be used for this conversation."""

    code = "chat_template_failed"
    advice = "Ask another model, or upload this one again with a chat template that keeps within the bounds."


class RemoteModelError(VisionError):
    """The remote model's server failed."""

    status, code, title = 502, "remote_model_failed", "Bad gateway"
    advice = "Look at the log of the server that `VISION_REMOTE_URL` names."


class RemoteModelBusyError(OverloadedError):
    """The remote model's server is busy: try again shortly."""

    code = "remote_model_busy"


class DeadlineExceededError(OverloadedError):
    """The request waited longer than its deadline and was dropped."""

    code = "deadline_exceeded"
    advice = (
        "Send the request again after `Retry-After`, with fewer images; a slow machine needs a longer "
        "`VISION_DEADLINE_S`."
    )


class OutOfMemoryError(OverloadedError):
    """The device ran out of memory for this request."""

    code = "out_of_memory"
    advice = "Send the request again after `Retry-After`, with fewer or smaller images."


class ModelUnavailableError(VisionError):
    """The model could not be loaded."""

    status, code, title = 503, "model_unavailable", "Service unavailable"
    advice = (
        "Read the sentence: the model's files, or what it needs, must be put right on the service's machine."
    )


class EngineUnavailableError(OverloadedError):
    """The process that runs the models is not there: try again shortly."""

    code = "engine_unavailable"
    advice = (
        "Send the same request again after `Retry-After`; where it lasts, the log tells why the engine ended."
    )


class ModelReplacedError(OverloadedError):
    """The model was replaced while the request was under way: try again."""

    code = "model_replaced"
