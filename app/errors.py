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


class ForeignOriginError(ForbiddenError):
    """Without API keys the service answers only requests that name a loopback host and origin."""

    code = "foreign_origin"


class NotFoundError(VisionError):
    """There is nothing here."""

    status, code, title = 404, "not_found", "Not found"


class CollectionNotFoundError(NotFoundError):
    """There is no collection of that name."""

    code = "collection_not_found"


class ExampleNotFoundError(NotFoundError):
    """There is no such example in this collection."""

    code = "example_not_found"


class ModelNotFoundError(NotFoundError):
    """There is no model of that name."""

    code = "model_not_found"


class KeyNotFoundError(NotFoundError):
    """There is no such API key."""

    code = "key_not_found"


class JobNotFoundError(NotFoundError):
    """There is no such job."""

    code = "job_not_found"


class DatasetNotFoundError(NotFoundError):
    """There is no such dataset."""

    code = "dataset_not_found"


class StrategyNotFoundError(NotFoundError):
    """There is no strategy of that name."""

    code = "strategy_not_found"


class ArtifactNotFoundError(NotFoundError):
    """There is no such artifact."""

    code = "artifact_not_found"


class ConflictError(VisionError):
    """The request conflicts with what is stored."""

    status, code, title = 409, "conflict", "Conflict"


class CollectionExistsError(ConflictError):
    """A collection of that name exists already."""

    code = "collection_exists"


class DefaultCollectionError(ConflictError):
    """The collection 'default' always exists and cannot be deleted."""

    code = "default_collection"


class EmptyCollectionError(ConflictError):
    """This collection has no examples yet: teach it one, or pass `labels` to classify without examples."""

    code = "empty_collection"


class EncoderMismatchError(ConflictError):
    """This collection is bound to another encoder."""

    code = "encoder_mismatch"


class JobStateError(ConflictError):
    """The job is not in a state in which that can be done."""

    code = "job_state"


class ModelExistsError(ConflictError):
    """A model of that name exists already."""

    code = "model_exists"


class BaseModelChangedError(ConflictError):
    """The model was trained over another version of its base model: train it again."""

    code = "base_model_changed"


class TooLargeError(VisionError):
    """The upload is larger than this service accepts."""

    status, code, title = 413, "too_large", "Content too large"


class TooManyPartsError(TooLargeError):
    """The upload has more parts than this service accepts."""

    code = "too_many_parts"


class ArchiveTooLargeError(TooLargeError):
    """The archive unfolds to more than this service accepts."""

    code = "archive_too_large"


class ImageTooLargeError(TooLargeError):
    """The image has more pixels than this service accepts."""

    code = "image_too_large"


class TooManyValuesError(TooLargeError):
    """The JSON body holds more values than this service accepts."""

    code = "too_many_values"


class UriTooLongError(VisionError):
    """The query string is longer than this service accepts: send the values in the body."""

    status, code, title = 414, "uri_too_long", "URI too long"


class HeadersTooLargeError(VisionError):
    """The request's headers are larger than this service accepts."""

    status, code, title = 431, "headers_too_large", "Request header fields too large"


class MethodNotAllowedError(VisionError):
    """This address does not answer that method."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class UnsupportedMediaTypeError(VisionError):
    """Send images as multipart/form-data, as a raw image/* body, or as base64 in JSON."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class InvalidInputError(VisionError):
    """The request is well formed but cannot be processed."""

    status, code, title = 422, "invalid_input", "Unprocessable content"


class InvalidImageError(InvalidInputError):
    """The image could not be read: send a whole JPEG, PNG, WebP, GIF, BMP or TIFF."""

    code = "invalid_image"


class OutsideDomainError(InvalidInputError):
    """The picture is unlike anything that the model knows, and `strict` asks for no guess."""

    code = "outside_domain"


class QuestionTooLongError(InvalidInputError):
    """The question does not fit into what the model can read."""

    code = "question_too_long"


class ArchiveError(InvalidInputError):
    """The archive cannot be unpacked."""

    code = "invalid_archive"


class CheckLimitError(InvalidInputError):
    """Checking the upload took more than this service allows."""

    code = "check_limit"


class IdempotencyKeyError(InvalidInputError):
    """This Idempotency-Key was used with another request."""

    code = "idempotency_key_reused"


class NotTrainableError(InvalidInputError):
    """These examples cannot be trained on."""

    code = "not_trainable"


class ModelTaskError(InvalidInputError):
    """This model cannot do that."""

    code = "model_cannot"


class AnswerExampleNotFoundError(NotFoundError):
    """There is no such answer example in this collection."""

    code = "answer_example_not_found"


class RemoteModelError(VisionError):
    """The remote model's server failed."""

    status, code, title = 502, "remote_model_failed", "Bad gateway"


class SlowUploadError(VisionError):
    """The request body did not arrive in time."""

    status, code, title = 408, "slow_upload", "Request timeout"


class OverloadedError(VisionError):
    """The service is busy: try again shortly."""

    status, code, title = 503, "overloaded", "Service unavailable"

    def __init__(self, detail: str | None = None, *, retry_after_s: int | None = 1, **context: Any) -> None:
        super().__init__(detail, retry_after_s=retry_after_s, **context)


class TooManyUploadsError(OverloadedError):
    """Too many uploads are arriving at once: try again shortly."""

    code = "too_many_uploads"


class NotReadyError(OverloadedError):
    """The service is starting or misses something that it needs."""

    code = "not_ready"

    def __init__(
        self, detail: str | None = None, *, checks: dict[str, str] | None = None, **context: Any
    ) -> None:
        """`checks` says of each part how it is; the problem document shows it."""
        super().__init__(detail, **context)
        self.checks = checks


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


class StoreUnavailableError(OverloadedError):
    """The database is not reachable right now."""

    code = "store_unavailable"


class TooManyOpenFilesError(OverloadedError):
    """The service has too many open files: try again shortly, or raise the limit (ulimit -n)."""

    code = "too_many_open_files"


class InsufficientStorageError(OverloadedError):
    """The disk that keeps data is full: free some space there, then try again."""

    status, code, title = 507, "insufficient_storage", "Insufficient storage"
