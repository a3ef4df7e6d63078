"""The failures of http that a client can meet."""

from __future__ import annotations

from app.errors import BadRequestError, OverloadedError, TooLargeError, VisionError


class TooManyPartsError(TooLargeError):
    """The upload has more parts than this service accepts."""

    code = "too_many_parts"
    advice = "Spread the images over several requests, or raise `VISION_MAX_IMAGES` and `VISION_MAX_PARTS`."


class TooManyValuesError(TooLargeError):
    """The JSON body holds more values than this service accepts."""

    code = "too_many_values"
    advice = "Send fewer values in one body."


class UriTooLongError(VisionError):
    """The query string is longer than this service accepts: send the values in the body."""

    status, code, title = 414, "uri_too_long", "URI too long"
    advice = "Send the values in the body, as a form or JSON."


class HeadersTooLargeError(VisionError):
    """The request's headers are larger than this service accepts."""

    status, code, title = 431, "headers_too_large", "Request header fields too large"
    advice = "Send fewer or shorter headers."


class MethodNotAllowedError(VisionError):
    """This address does not answer that method."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"
    advice = "Use a method that the header `Allow` names."


class UnsupportedMediaTypeError(VisionError):
    """Send images as multipart/form-data, as a raw image/* body, or as base64 in JSON."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"
    advice = "Set `Content-Type` to what the body is."


class SlowUploadError(VisionError):
    """The request body did not arrive in time."""

    status, code, title = 408, "slow_upload", "Request timeout"
    advice = "Send the request again over a faster connection, or raise `VISION_RECEIVE_TIMEOUT_S`."


class TooManyUploadsError(OverloadedError):
    """Too many uploads are arriving at once: try again shortly."""

    code = "too_many_uploads"


class ImageUrlNotFetchedError(BadRequestError):
    """Addresses of images are not fetched: send the image itself as a data: URI (`data:image/jpeg;base64,...`)."""

    code = "image_url_not_fetched"
    advice = "Read the image yourself and send it as a data: URI."
