"""The failures of http that a client can meet."""

from __future__ import annotations

from app.errors import OverloadedError, TooLargeError, VisionError


class TooManyPartsError(TooLargeError):
    """The upload has more parts than this service accepts."""

    code = "too_many_parts"


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


class SlowUploadError(VisionError):
    """The request body did not arrive in time."""

    status, code, title = 408, "slow_upload", "Request timeout"


class TooManyUploadsError(OverloadedError):
    """Too many uploads are arriving at once: try again shortly."""

    code = "too_many_uploads"
