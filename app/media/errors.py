"""The failures of media that a client can meet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import CheckLimitError, InvalidInputError, TooLargeError


class ImageTooLargeError(TooLargeError):
    """The image has more pixels than this service accepts."""

    code = "image_too_large"
    advice = "Send a smaller image, or raise `VISION_MAX_MEGAPIXELS` or `VISION_MAX_SIDE`."


class InvalidImageError(InvalidInputError):
    """The image could not be read: send a whole JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC or JPEG 2000."""

    code = "invalid_image"
    advice = "Send a whole image file of a format that the sentence names."


@contextmanager
def naming(index: int, count: int) -> Iterator[None]:
    """Says which of several images was refused; the sentence stays the fixed one."""
    try:
        yield
    except (InvalidImageError, ImageTooLargeError, CheckLimitError) as error:
        if count == 1:
            raise
        raise type(error)(f"Image {index + 1} of {count}: {error.detail}", **error.context) from error
