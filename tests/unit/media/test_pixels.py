"""Images as arrays: what libjpeg-turbo gives is what Pillow gives, and nothing that Pillow refuses is let through."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.media import images, jpeg
from app.media.errors import ImageTooLargeError, InvalidImageError
from app.media.images import ImageLimits, decode, decode_pixels
from tests.image_files import encode_image, files, gradient

LIMITS = ImageLimits(max_pixels=1_000_000, max_side=5_000)
FILES = files()
MUTATIONS = 1_500


def photo(width: int = 97, height: int = 61) -> Image.Image:
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (8, 12, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def rotated(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


JPEGS: dict[str, Callable[[], bytes]] = {
    "plain": lambda: encode_image(photo(), "JPEG"),
    "full chroma": lambda: encode_image(photo(), "JPEG", subsampling=0),
    "half chroma": lambda: encode_image(photo(), "JPEG", subsampling=1),
    "progressive": lambda: encode_image(photo(), "JPEG", progressive=True),
    "optimised": lambda: encode_image(photo(), "JPEG", optimize=True, quality=97),
    "restarts": lambda: encode_image(photo(), "JPEG", restart_marker_rows=1),
    "grey": lambda: encode_image(photo().convert("L"), "JPEG"),
    "cmyk": lambda: encode_image(photo().convert("CMYK"), "JPEG"),
    "rgb without transform": lambda: encode_image(photo(), "JPEG", keep_rgb=True),
    **{
        f"turned {number}": lambda number=number: encode_image(photo(), "JPEG", exif=rotated(number))
        for number in range(1, 9)
    },
    "one pixel": lambda: encode_image(photo(1, 1), "JPEG"),
    "thin": lambda: encode_image(photo(1, 300), "JPEG"),
    "with a tail": lambda: encode_image(photo(), "JPEG") + b"tail" * 100,
    "without an end": lambda: encode_image(photo(), "JPEG")[:-2],
}


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_gives_the_pixels_that_pillow_gives(name: str) -> None:
    data = JPEGS[name]()
    np.testing.assert_array_equal(decode_pixels(data, LIMITS), np.asarray(decode(data, LIMITS)))


def test_ordinary_jpegs_do_not_go_through_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    through = []
    monkeypatch.setattr(images, "_decode_upright", lambda *args: through.append(args))
    for name in ("plain", "progressive", "grey", "restarts", "turned 6", "with a tail"):
        assert decode_pixels(JPEGS[name](), LIMITS).dtype == np.uint8
    assert not through


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_what_decode_gives(name: str) -> None:
    np.testing.assert_array_equal(decode_pixels(FILES[name], LIMITS), np.asarray(decode(FILES[name], LIMITS)))


@pytest.mark.parametrize(("min_side", "factor"), [(None, 1), (700, 1), (351, 1), (350, 2), (175, 4), (50, 4)])
def test_a_large_jpeg_is_decoded_at_a_fraction_that_keeps_enough(min_side: int | None, factor: int) -> None:
    large = gradient(900, 700)
    data = encode_image(large, "JPEG", exif=rotated(6))
    pixels = decode_pixels(data, LIMITS, min_side=min_side)
    assert pixels.shape == (-(-900 // factor), -(-700 // factor), 3)
    upright = large.transpose(Image.Transpose.ROTATE_270).resize(pixels.shape[1::-1])
    assert np.abs(pixels.astype(int) - np.asarray(upright)).mean() < 4


def test_sizes_are_checked_before_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "decode", lambda *args: pytest.fail("it was decoded"))
    for limits in (ImageLimits(max_pixels=5_000), ImageLimits(max_side=96)):
        with pytest.raises(ImageTooLargeError):
            decode_pixels(JPEGS["plain"](), limits)


def outcome(read: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8] | None:
    """The pixels; None where the image is refused as damaged or too large. Anything else fails the test."""
    try:
        return read()
    except (InvalidImageError, ImageTooLargeError):
        return None


def test_damaged_jpegs_are_refused_or_read_as_by_pillow() -> None:
    """Bytes changed, taken out, put in and cut off, at random but the same each time."""
    rng = random.Random(13)
    originals = [make() for make in JPEGS.values()]
    refused = same = 0
    for _ in range(MUTATIONS):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(2, len(data)) if rng.random() < 0.5 else rng.randrange(2, min(700, len(data)))
            kind = rng.random()
            if kind < 0.6:
                data[at] = rng.choice((0, 1, 0xFF, 0xD9, rng.randrange(256)))
            elif kind < 0.75:
                del data[at : at + rng.randrange(1, 40)]
            elif kind < 0.9:
                data[at:at] = rng.randbytes(rng.randrange(1, 8))
            else:
                del data[max(at, 20) :]
        fast = outcome(lambda data=bytes(data): decode_pixels(data, LIMITS))
        slow = outcome(lambda data=bytes(data): np.asarray(decode(data, LIMITS)))
        assert (fast is None) == (slow is None), bytes(data)
        if fast is None or slow is None:
            refused += 1
            continue
        same += 1
        assert fast.shape == slow.shape
        assert np.abs(fast.astype(int) - slow).max() <= 3, bytes(data)
    assert min(refused, same) > MUTATIONS // 10
