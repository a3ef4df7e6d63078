"""Pixels that nobody would see as they are: full transparency, few bits of many, and marks for missing samples."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from app.media.errors import InvalidImageError
from app.media.images import ImageLimits, decode, normalise_for_storage
from tests.image_files import PNG_SIGNATURE, encode_image, gradient, png_chunk

LIMITS = ImageLimits()
RAMP = np.linspace(0, 1, 64)[None].repeat(8, 0)


def grey(data: bytes) -> np.ndarray:
    return np.asarray(decode(data, LIMITS)).astype(int)[..., 0]


def clear(mode: str) -> Image.Image:
    """A gradient whose every pixel is transparent."""
    picture = gradient()
    if mode == "P":
        return picture.quantize(64)
    picture = picture.convert(mode)
    picture.putalpha(0)
    return picture


CLEAR = {
    "png rgba": lambda: encode_image(clear("RGBA"), "PNG"),
    "png la": lambda: encode_image(clear("LA"), "PNG"),
    "png palette": lambda: encode_image(clear("P"), "PNG", transparency=bytes(64)),
    "webp": lambda: encode_image(clear("RGBA"), "WEBP", lossless=True, exact=True),
    "tiff": lambda: encode_image(clear("RGBA"), "TIFF"),
    "bmp": lambda: bmp_with_alpha(clear("RGBA")),
    "png alpha of 1": lambda: encode_image(alpha_of(1), "PNG"),
}


def alpha_of(value: int) -> Image.Image:
    picture = gradient().convert("RGBA")
    picture.putalpha(value)
    return picture


def bmp_with_alpha(image: Image.Image) -> bytes:
    """A BMP with the V4 header of screenshots, which names a mask for alpha."""
    rows = np.asarray(image)[::-1, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = (
        struct.pack("<IiiHHIIiiII", 108, *image.size, 1, 32, 3, len(rows), 0, 0, 0, 0)
        + masks
        + b"BGRs"
        + bytes(48)
    )
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + rows


@pytest.mark.parametrize("name", CLEAR)
def test_where_everything_is_transparent_the_colours_were_meant(name: str) -> None:
    data = CLEAR[name]()
    expected = np.asarray(gradient().convert("L" if " la" in name else "RGB").convert("RGB")).astype(int)
    assert np.abs(np.asarray(decode(data, LIMITS)).astype(int) - expected).mean() < 12
    assert (
        np.abs(np.asarray(decode(normalise_for_storage(data, LIMITS).bytes, LIMITS)) - expected).mean() < 12
    )


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_over_nothing_is_refused(kind: str) -> None:
    with pytest.raises(InvalidImageError, match="transparent everywhere"):
        decode(encode_image(Image.new("RGBA", (20, 20)), kind), LIMITS)


def test_an_empty_first_frame_is_refused() -> None:
    frames = [Image.new("P", (20, 20)), gradient(20, 20).quantize(16)]
    data = encode_image(frames[0], "GIF", save_all=True, append_images=frames[1:], transparency=0)
    with pytest.raises(InvalidImageError, match="transparent everywhere"):
        decode(data, LIMITS)


def test_white_on_nothing_is_laid_on_black() -> None:
    sign = Image.new("RGBA", (20, 20), (255, 255, 255, 0))
    sign.paste((255, 255, 255, 255), (5, 5, 15, 15))
    shown = grey(encode_image(sign, "PNG"))
    assert (shown[10, 10], shown[1, 1]) == (255, 0)


@pytest.mark.parametrize("white", [255, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_samples_of_fewer_bits_than_the_file_has_are_scaled(white: int, kind: str) -> None:
    deep = Image.fromarray((RAMP * white).astype(np.uint16))
    assert np.abs(grey(encode_image(deep, kind)) - RAMP * 255).max() <= 1


def deep_png(samples: np.ndarray) -> bytes:
    """A PNG of 16-bit samples uint16[h, w, channels]."""
    height, width, channels = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return (
        PNG_SIGNATURE
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def deep_tiff(samples: np.ndarray, order: str) -> bytes:
    """An uncompressed TIFF of 16-bit samples uint16[h, w, 3]."""
    height, width, _ = samples.shape
    data = samples.astype(f"{order}u2").tobytes()
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, None), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, 0), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(data))]
    end = 8 + 2 + 12 * len(tags) + 4
    directory = struct.pack(f"{order}H", len(tags))
    for tag, kind, count, value in tags:
        place = end if value is None else end + 6 if tag == 273 else value
        held = struct.pack(f"{order}{'H' if kind == 3 and count == 1 else 'I'}", place).ljust(4, b"\0")
        directory += struct.pack(f"{order}HHI", tag, kind, count) + held
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + directory + bytes(4) + struct.pack(f"{order}3H", 16, 16, 16) + data


@pytest.mark.parametrize("white", [1023, 4095, 65535])
@pytest.mark.parametrize("kind", ["png la", "png rgb", "png rgba", "tiff <", "tiff >"])
def test_colours_of_fewer_bits_than_the_file_has_are_scaled(white: int, kind: str) -> None:
    picture = np.asarray(gradient(64, 48)).astype(float) / 255
    if kind == "png la":
        picture = picture[..., :2]
        picture[..., 1] = 1
    elif kind == "png rgba":
        picture = np.concatenate([picture, np.ones((48, 64, 1))], -1)
    samples = (picture * white).round().astype(np.uint16)
    data = deep_tiff(samples, kind[-1]) if kind.startswith("tiff") else deep_png(samples)
    expected = picture[..., :3] if kind != "png la" else picture[..., :1].repeat(3, -1)
    assert np.abs(np.asarray(decode(data, LIMITS)) - expected * 255).max() <= 1.5


MARKS = {
    "nan": np.nan,
    "-9999": -9999.0,
    "largest float": 3.4e38,
    "smallest float": -3.4e38,
    "1e38": 1e38,
    "-32768": -32768.0,
}


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("scale", [0.9, 1.0, 250.0, 3_000.0])
def test_missing_samples_do_not_hide_the_others(mark: str, scale: float) -> None:
    values = (RAMP * scale + 0.001).astype(np.float32)
    values[2:4, 10:20] = MARKS[mark]
    shown = grey(encode_image(Image.fromarray(values), "TIFF"))
    assert (shown[2:4, 10:20] == 0).all()
    assert (np.diff(shown[0]) >= 0).all()
    assert shown[0, -1] - shown[0, 0] > 150


def test_the_value_that_gdal_names_is_missing() -> None:
    values = (RAMP * 100).astype(np.float32)
    values[0, :5] = 777.0
    shown = grey(encode_image(Image.fromarray(values), "TIFF", tiffinfo={42113: "777"}))
    assert (shown[0, :5] == 0).all()
    assert shown[1, -1] > 90


def test_a_mask_of_two_values_keeps_both() -> None:
    mask = Image.fromarray(np.where(RAMP > 0.5, 65535, 0).astype(np.uint16))
    assert set(np.unique(grey(encode_image(mask, "PNG")))) == {0, 255}


@pytest.mark.parametrize(("rest", "lamp"), [(4_095, 0), (20_000, 255)])
def test_a_mark_is_told_from_a_lamp_in_a_dark_photo(rest: int, lamp: int) -> None:
    values = (RAMP * rest).astype(np.uint16)
    values[0, :5] = 65535
    shown = grey(encode_image(Image.fromarray(values), "PNG"))
    assert (shown[0, :5] == lamp).all()


@pytest.mark.parametrize("value", [np.nan, 3.4e38])
def test_an_image_of_missing_samples_alone_is_refused(value: float) -> None:
    image = Image.fromarray(np.full((8, 8), value, np.float32))
    with pytest.raises(InvalidImageError, match="no valid sample"):
        decode(encode_image(image, "TIFF"), LIMITS)


def test_integers_with_a_mark_are_scaled_by_the_others() -> None:
    values = (RAMP * 4_000).astype(np.int32)
    values[0, :5] = -9999
    shown = grey(encode_image(Image.fromarray(values), "TIFF"))
    assert (shown[0, :5] == 0).all()
    assert shown[1, -1] > 240


def test_cmyk_photos_keep_their_colours() -> None:
    shown = np.asarray(decode(encode_image(gradient().convert("CMYK"), "JPEG", quality=95), LIMITS)).astype(
        int
    )
    assert np.abs(shown - np.asarray(gradient())).mean() < 8


def test_the_file_is_not_kept_open_by_its_picture() -> None:
    assert not hasattr(decode(encode_image(clear("RGBA"), "PNG"), LIMITS), "fp")
    assert isinstance(Image.open(io.BytesIO(CLEAR["bmp"]())), Image.Image)
