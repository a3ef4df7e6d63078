"""What every decoder has in common: sizes are checked before pixels, and what it raises becomes one of two errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from app.errors import VisionError
from app.media.errors import ImageTooLargeError, InvalidImageError
from app.media.kinds import NAMES


def check_size(size: tuple[int, int], max_pixels: int, max_side: int) -> None:
    """Raise ImageTooLargeError for more pixels or a longer side, InvalidImageError for none."""
    width, height = size
    if width < 1 or height < 1:
        raise InvalidImageError(reason="no pixels")
    if width * height > max_pixels or max(width, height) > max_side:
        raise ImageTooLargeError(
            f"The image has more than the {max_pixels / 1e6:g} megapixels or {max_side} pixels a side that this "
            f"service accepts: it measures '{width} x {height}'.",
            width=width,
            height=height,
        )


@contextmanager
def decoder_failures(kind: str) -> Iterator[None]:
    """Whatever the decoder of `kind` raises becomes one of two errors; the library's own words only reach the log."""
    try:
        yield
    except (VisionError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError from error
    except Exception as error:
        raise InvalidImageError(
            f"This {NAMES.get(kind, kind)} image could not be read: it is damaged or cut short. Send the whole file.",
            reason=type(error).__name__,
        ) from error
