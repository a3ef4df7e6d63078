"""The failures of media that a client can meet."""

from __future__ import annotations

from app.errors import InvalidInputError, TooLargeError


class ImageTooLargeError(TooLargeError):
    """The image has more pixels than this service accepts."""

    code = "image_too_large"
    advice = "Send a smaller image, or raise `VISION_MAX_MEGAPIXELS` or `VISION_MAX_SIDE`."


class InvalidImageError(InvalidInputError):
    """The image could not be read: send a whole JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC or JPEG 2000."""

    code = "invalid_image"
    advice = "Send a whole image file of a format that the sentence names."
