"""Bytes in, safe RGB out: every limit on an image lives here, and every decoder failure ends here.

For any bytes at all, the outcome is an image, an InvalidImageError or an ImageTooLargeError, with a sentence of this
project's; AVIF, HEIC and JPEG 2000 may go beyond a limit of their decoders too.
"""

from __future__ import annotations

import binascii
import builtins
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from app.errors import InvalidInputError, TooLargeError
from app.media import depth, jpeg
from app.media.converting import CONVERTED, DecoderLimits, convert
from app.media.errors import InvalidImageError
from app.media.kinds import READABLE, describe, sniff
from app.media.modes import orientation, to_rgb, turn_pixels
from app.media.safety import check_size, decoder_failures
from app.media.structure import (
    check,
    has_all_scans,
    is_ordinary_jpeg,
    lacks_end,
    strip_jpeg,
    with_end,
)
from app.settings import Settings

_DECODERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
"""The formats that are accepted. Opened directly and not through `Image.open`, whose process-wide pixel limit
and its warning would speak before (or, with a larger `max_megapixels`, against) the limits below."""

_MARGIN = 2
"""How many times `input_size` the shorter side keeps when a larger image is decoded at a reduced scale."""
_REDUCING_GAP = 2.0
"""How many times the size that it is averaged to an image keeps when Pillow first averages it by a whole factor, which
is faster."""
_TIFF_TILE = (322, 323)
_FILLER = b"\xfe" * 256
"""Ones, where decoders make up zeros, and no marker among them: of 768 JPEGs cut by 3 to 20 bytes every one that lacked
pixels differed by it, and of 192 cut by 1 or 2 none."""
_STORED_QUALITY = 95
_THUMBNAIL_QUALITY = 85

# Decoders warn about a client's odd metadata: noise in the log, and memory, as each new text is remembered.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True)
class ImageLimits:
    """What an image may measure, in pixels."""

    max_pixels: int = 40_000_000
    max_side: int = 30_000
    stored_side: int = 2_048
    decoder: DecoderLimits = field(default_factory=DecoderLimits)

    @classmethod
    def from_settings(cls, settings: Settings) -> ImageLimits:
        return cls(
            max_pixels=int(settings.limits.max_megapixels * 1_000_000),
            max_side=settings.limits.max_side,
            stored_side=settings.limits.stored_side,
            decoder=DecoderLimits(
                settings.limits.decoder_memory_mb, settings.limits.decoder_s, settings.limits.decoders
            ),
        )


@dataclass(frozen=True)
class StoredImage:
    """An example as it is kept: upright, without metadata, its longest side bounded."""

    bytes: builtins.bytes
    media_type: str
    """`image/jpeg` or `image/png`."""
    width: int
    height: int


def decode(data: builtins.bytes, limits: ImageLimits, *, input_size: int | None = None) -> Image.Image:
    """The first frame of a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC or JPEG 2000 as upright RGB without metadata.

    With `input_size`, an image whose shorter side is at least four times that is decoded or box-averaged to a
    whole fraction of its size, its shorter side staying at least twice `input_size`; a model that scales to
    `input_size` sees nearly the same pixels, and nothing large is kept. Sizes are checked before anything is
    decoded; peak memory is about 9 bytes a pixel, 20 for WebP. Transparency is laid on white (`to_rgb`).

    Raises InvalidImageError (not an image, broken, truncated, nothing to see) and ImageTooLargeError; for AVIF, HEIC
    and JPEG 2000 what `app.media.converting.convert` raises too.
    """
    return decode_with_turn(data, limits, input_size=input_size)[0]


def decode_with_turn(
    data: builtins.bytes, limits: ImageLimits, *, input_size: int | None = None
) -> tuple[Image.Image, Image.Transpose | None]:
    """What `decode` gives, and what its EXIF had it turned by; None for an image that is stored upright."""
    data, kind = as_common(data, limits)
    return _decode_upright(data, kind, limits, _MARGIN * input_size if input_size else None)


def decode_pixels(
    data: builtins.bytes,
    limits: ImageLimits,
    *,
    min_side: int | None = None,
    place: Callable[[int, int], NDArray[np.uint8]] | None = None,
) -> NDArray[np.uint8]:
    """What `decode` gives as uint8[h, w, 3], ordinary JPEGs without Pillow's copies of them.

    With `min_side`, a larger image is decoded at a fraction of its size, its shorter side keeping at least so many
    pixels: a JPEG at a half or a quarter, anything else box-averaged by a whole factor.

    An ordinary JPEG that is stored upright is written into what `place(height, width)` gives.

    Raises what `decode` raises, for the same files.
    """
    data, kind = as_common(data, limits)
    if kind == "JPEG":
        with decoder_failures(kind):
            pixels = _jpeg_pixels(data, limits, min_side, place)
        if pixels is not None:
            return pixels
    return np.array(_decode_upright(data, kind, limits, min_side)[0])


def _jpeg_pixels(
    data: builtins.bytes,
    limits: ImageLimits,
    min_side: int | None,
    place: Callable[[int, int], NDArray[np.uint8]] | None,
) -> NDArray[np.uint8] | None:
    """A JPEG that leaves nothing to repair or to convert; None for any other, which Pillow decodes or refuses.

    Pillow reads the header even so: what it refuses there is refused here.
    """
    check(data, "JPEG")
    if not is_ordinary_jpeg(data):
        return None
    with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as image:
        check_size(image.size, limits.max_pixels, limits.max_side)
        if image.mode not in ("L", "RGB"):
            return None
        size = (image.height, image.width)
        turn = orientation(image)
    pixels = jpeg.decode(data, size, jpeg.factor_for(size, min_side), place if turn is None else None)
    return pixels if pixels is None or turn is None else turn_pixels(pixels, turn)


def _decode_upright(
    data: builtins.bytes, kind: str, limits: ImageLimits, target: int | None
) -> tuple[Image.Image, Image.Transpose | None]:
    """By Pillow: upright RGB, its shorter side keeping `target` pixels, and what it was turned by."""
    with decoder_failures(kind), _open_checked(data, kind, limits) as image:
        layout = depth.deep_layout(image)
        if target and isinstance(image, JpegImagePlugin.JpegImageFile):
            image.draft(None, (target, target))
        image.load()
        turn = orientation(image)
        result: Image.Image = image
        if layout is not None and depth.uses_few_bits(image):
            result = _deepen(data, kind, limits, image, layout)
        if result.mode in ("L", "RGB") and "transparency" not in result.info:
            result = _shrink(result, target)
        result = _shrink(to_rgb(result), target)
        if turn is not None:
            result = result.transpose(turn)
        if result is image:  # the file object holds the upload's bytes
            result = image.copy()
        result.info = {}
        return result, turn


def as_common(data: builtins.bytes, limits: ImageLimits) -> tuple[builtins.bytes, str]:
    """The file and what `sniff` calls its format, AVIF, HEIC and JPEG 2000 as JPEG.

    Raises InvalidImageError that says what else it is, and what `app.media.converting.convert` raises.
    """
    kind = sniff(data)
    if kind is None:
        raise InvalidImageError(
            f"This is {describe(data)}: send a whole {READABLE}.", reason="unknown signature"
        )
    if kind in CONVERTED:
        return convert(
            data, kind, max_pixels=limits.max_pixels, max_side=limits.max_side, limits=limits.decoder
        ), "JPEG"
    return data, kind


def normalise_for_storage(data: builtins.bytes, limits: ImageLimits) -> StoredImage:
    """An upload as it may be kept: what `decode` sees, and nothing else that was in the file.

    An upright JPEG that is small enough keeps its pixels bit for bit and loses only its metadata. Everything
    else is decoded, scaled to `stored_side` and written again: photographs (JPEG, lossy WebP) as JPEG of
    quality 95 without chroma subsampling, the rest as PNG. The same bytes give the same result.

    Raises what `decode` raises.
    """
    data, kind = as_common(data, limits)
    image = decode(data, limits)
    if kind == "JPEG" and max(image.size) <= limits.stored_side and _is_upright(data):
        return StoredImage(strip_jpeg(data), "image/jpeg", *image.size)
    image.thumbnail((limits.stored_side, limits.stored_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if kind == "JPEG" or (kind == "WEBP" and data[12:16] != b"VP8L"):
        image.save(buffer, "JPEG", quality=_STORED_QUALITY, subsampling=0)
        return StoredImage(buffer.getvalue(), "image/jpeg", *image.size)
    image.save(buffer, "PNG", compress_level=3)
    return StoredImage(buffer.getvalue(), "image/png", *image.size)


def thumbnail(data: builtins.bytes, side: int, limits: ImageLimits | None = None) -> builtins.bytes:
    """A JPEG whose longest side is at most `side` pixels. Raises what `decode` raises."""
    image = decode(data, limits or ImageLimits(), input_size=side)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_THUMBNAIL_QUALITY)
    return buffer.getvalue()


def from_base64(text: str, *, max_bytes: int) -> builtins.bytes:
    """The bytes of plain base64 or of a `data:...;base64,` URI, whose declared type counts for nothing.

    Line breaks are allowed, other alphabets and missing padding are not. Raises InvalidInputError, and
    TooLargeError before anything is decoded.
    """
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise InvalidInputError("A data: URI must read 'data:image/...;base64,' and then the image.")
    elif text[:8].lower().startswith(("http://", "https://", "file:")):
        raise InvalidInputError("Addresses are not fetched: send the image itself, as base64 or a data: URI.")
    if len(text) > max_bytes * 3 // 2 + 4:
        raise TooLargeError
    compact = text.translate({10: None, 13: None})
    if len(compact) // 4 * 3 - compact[-2:].count("=") > max_bytes:
        raise TooLargeError
    try:
        if compact.endswith("==="):  # more than strict mode minds
            raise ValueError
        return binascii.a2b_base64(compact, strict_mode=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError("The image is not valid base64.") from None


@contextmanager
def _open_checked(data: builtins.bytes, kind: str, limits: ImageLimits) -> Iterator[ImageFile.ImageFile]:
    """The image before decoding, once its structure and size have passed."""
    check(data, kind)
    if kind == "JPEG" and lacks_end(data):
        data = _complete_jpeg(data, limits)
    with _DECODERS[kind](io.BytesIO(data)) as image:
        check_size(image.size, limits.max_pixels, limits.max_side)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            # A tile may be far larger than the image that it is cut from, and is decoded whole.
            width, height = (int(image.tag_v2.get(tag, 1)) for tag in _TIFF_TILE)
            check_size((width, height), limits.max_pixels, limits.max_side)
        yield image


def _complete_jpeg(data: builtins.bytes, limits: ImageLimits) -> builtins.bytes:
    """A JPEG with the end marker that it lacks; raises InvalidImageError where it lacks pixels too.

    Decoders make up what is missing, so it is decoded twice with different bytes in its place: pixels that are all
    there do not depend on these.
    """
    pictures = []
    for filler in (b"", _FILLER):
        picture = JpegImagePlugin.JpegImageFile(io.BytesIO(with_end(data, filler)))
        check_size(picture.size, limits.max_pixels, limits.max_side)
        picture.load()
        pictures.append(picture)
    if not has_all_scans(data) or ImageChops.difference(*pictures).getbbox() is not None:
        raise InvalidImageError("This JPEG image is cut short: send the whole file.", reason="truncated")
    return with_end(data)


def _deepen(
    data: builtins.bytes, kind: str, limits: ImageLimits, upper: Image.Image, layout: str
) -> Image.Image:
    """An image whose upper 8 bits show next to nothing, by its lower ones too."""
    with _open_checked(data, kind, limits) as lower:
        depth.set_layout(lower, depth.lower_layout(layout))
        lower.load()
        return depth.with_lower_bits(upper, lower, layout)


def _shrink(image: Image.Image, target: int | None) -> Image.Image:
    """Box-averaged, the shorter side staying at least `target`.

    Not by `Image.reduce`, whose last row and column stand for fewer pixels where a side is no multiple of the factor:
    that stretches the image, and a model's input differs by more (6000 x 4000 to 256: at an edge by 23 of 255, not 10).
    """
    factor = min(image.size) // target if target else 1
    if factor <= 1:
        return image
    size = (image.width // factor, image.height // factor)
    return image.resize(size, Image.Resampling.BOX, reducing_gap=_REDUCING_GAP)


def _is_upright(data: builtins.bytes) -> bool:
    with decoder_failures("JPEG"), JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as image:
        return orientation(image) is None
