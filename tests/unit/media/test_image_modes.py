"""Every pixel kind becomes the RGB that a person would expect."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from app.media.modes import orientation, to_rgb
from tests.image_files import encode_image, gradient

RAMP = np.linspace(0, 1, 64)[None].repeat(4, 0)


def pixels(image: Image.Image) -> np.ndarray:
    rgb = to_rgb(image)
    assert rgb.mode == "RGB"
    assert rgb.size == image.size
    return np.asarray(rgb).astype(int)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"])
def test_colour_modes_keep_the_picture(mode: str) -> None:
    image = gradient(64, 64)
    converted = image.convert("RGBA").convert("RGBa") if mode == "RGBa" else image.convert(mode)
    assert np.abs(pixels(converted) - np.asarray(image)).mean() < 6


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA"])
def test_plain_modes_keep_the_picture(mode: str) -> None:
    image = gradient(64, 64)
    converted = image.convert("P").convert("PA") if mode == "PA" else image.convert(mode)
    expected = np.asarray(image.convert("RGB" if mode in ("P", "PA") else "L").convert("RGB"))
    assert abs(pixels(converted).mean() - expected.mean()) < 6


def test_lab_is_converted_by_its_meaning() -> None:
    grey = Image.new("LAB", (2, 2), (128, 128, 128))  # Pillow keeps a and b offset by 128
    assert np.ptp(pixels(grey)[0, 0]) <= 6


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA", "RGBA"])
def test_what_is_transparent_is_white(mode: str) -> None:
    clear = {"L": 0, "RGB": (0, 0, 0), "P": 0, "LA": (0, 0), "RGBA": (255, 0, 0, 0)}[mode]
    solid = {"L": 90, "RGB": (9, 90, 9), "P": 1, "LA": (90, 255), "RGBA": (9, 90, 9, 255)}[mode]
    image = Image.new(mode, (8, 8), clear)
    if mode == "P":
        image.putpalette([200, 0, 0, 9, 90, 9] + [0] * 762)
    image.paste(solid, (0, 0, 4, 8))
    options = {"L": {"transparency": 0}, "RGB": {"transparency": (0, 0, 0)}, "P": {"transparency": 0}}.get(
        mode, {}
    )
    result = pixels(Image.open(io.BytesIO(encode_image(image, "PNG", **options))))
    assert (result[:, 4:] == 255).all()
    assert (result[:, :4, 1] == 90).all()


def test_half_transparent_is_half_white() -> None:
    result = pixels(Image.new("RGBA", (4, 4), (0, 0, 0, 128)))
    assert abs(result - 127).max() <= 1


def test_a_palette_with_many_transparencies() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([0] * 768)
    image.putdata([0, 1, 2])
    data = encode_image(image, "PNG", transparency=bytes([0, 128, 255]))
    assert pixels(Image.open(io.BytesIO(data)))[0, :, 0].tolist() == [255, 127, 0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    deep = Image.fromarray((RAMP * 65535).astype(np.uint16))
    result = pixels(Image.open(io.BytesIO(encode_image(deep, kind))))
    assert np.abs(result[..., 0] - RAMP * 255).max() <= 1


def test_big_endian_sixteen_bits() -> None:
    values = (RAMP * 65535).astype(">u2")
    image = Image.frombytes("I;16B", (64, 4), values.tobytes())
    assert np.abs(pixels(image)[..., 0] - RAMP * 255).max() <= 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (RAMP * 1.0, RAMP * 255),
        (RAMP * 255.0, RAMP * 255),
        (RAMP * 65535.0, RAMP * 255),
        (RAMP * 1e6 + 5, RAMP * 255),
        (RAMP * 2 - 1, RAMP * 255),
        (np.full((4, 64), 1e9), np.zeros((4, 64))),
    ],
)
def test_floats_find_their_range(values: np.ndarray, expected: np.ndarray) -> None:
    result = pixels(Image.fromarray(values.astype(np.float32)))
    assert np.abs(result[..., 0] - expected).max() <= 1


def test_infinite_samples_do_not_spoil_the_rest() -> None:
    values = RAMP.copy()
    values[0, :3] = [np.inf, -np.inf, np.nan]
    result = pixels(Image.fromarray(values.astype(np.float32)))[..., 0]
    assert result[0, :3].tolist() == [255, 0, 0]
    assert np.abs(result[1:] - RAMP[1:] * 255).max() <= 1


def test_integers_find_their_range() -> None:
    for white in (255, 65535, 2**31 - 1):
        result = pixels(Image.fromarray((RAMP * white).astype(np.int32)))
        assert np.abs(result[..., 0] - RAMP * 255).max() <= 1


def test_images_larger_than_a_band_have_no_seams() -> None:
    tall = np.linspace(0, 65535, 3_000)[:, None].repeat(900, 1).astype(np.uint16)
    result = pixels(Image.fromarray(tall))[..., 0]
    assert (np.diff(result[:, 0]) >= 0).all()
    assert (np.diff(result[:, 0]) <= 1).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("value", range(1, 9))
def test_every_orientation_comes_out_upright(kind: str, value: int) -> None:
    upright = gradient(40, 24)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[value]) if value in undo else upright
    exif = Image.Exif()
    exif[0x0112] = value
    image = Image.open(io.BytesIO(encode_image(stored, kind, exif=exif)))
    image.load()
    turn = orientation(image)
    result = image.transpose(turn) if turn is not None else image
    assert result.size == upright.size
    assert np.abs(np.asarray(result.convert("RGB")).astype(int) - np.asarray(upright)).mean() < 6


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0garbage", b"II*\0" + bytes(40)]
)
def test_damaged_exif_leaves_the_image_as_it_is(exif: bytes) -> None:
    image = Image.open(io.BytesIO(encode_image(gradient(), "JPEG", exif=exif)))
    assert orientation(image) is None
