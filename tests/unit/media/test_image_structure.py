"""Files that cost decoders far more than their size are refused before one sees them; honest files pass."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable

import pytest
from PIL import Image

from app.media.errors import InvalidImageError
from app.media.kinds import sniff
from app.media.structure import check, strip_jpeg
from tests.image_files import bmp_runs, encode_image, files, gradient, png, png_chunk, tiff

JPEG = encode_image(gradient(), "JPEG")
PROGRESSIVE = encode_image(gradient(), "JPEG", progressive=True)
LAST_SCAN = PROGRESSIVE[PROGRESSIVE.rfind(b"\xff\xda") : -2]
GIF = encode_image(gradient().quantize(16), "GIF")
GIF_HEAD = 13 + 3 * 16

EXPENSIVE: dict[str, Callable[[], bytes]] = {
    "jpeg of five million comments": lambda: JPEG[:2] + b"\xff\xfe\0\2" * 5_000_000 + JPEG[2:],
    "jpeg padded with fill bytes": lambda: JPEG[:2] + b"\xff" * 20_000_000 + JPEG[2:],
    "jpeg padded with zeros": lambda: JPEG[:20] + bytes(20_000_000) + JPEG[20:],
    "jpeg of restart markers": lambda: JPEG[:2] + b"\xff\xd0" * 10_000_000 + JPEG[2:],
    "jpeg of five thousand scans": lambda: PROGRESSIVE[:-2] + LAST_SCAN * 5_000 + b"\xff\xd9",
    "png of a million chunks": lambda: png(4, 4, extra=png_chunk(b"teSt", b"") * 1_000_000),
    "gif of ten million blocks": lambda: (
        GIF[:GIF_HEAD] + b"!\xfe" + b"\1a" * 10_000_000 + b"\0" + GIF[GIF_HEAD:]
    ),
    "gif of a million comments": lambda: GIF[:GIF_HEAD] + b"!\xfe\1a\0" * 1_000_000 + GIF[GIF_HEAD:],
    "gif of stray bytes": lambda: GIF[:GIF_HEAD] + b"\1" * 10_000_000 + GIF[GIF_HEAD:],
    "bmp of ten million runs": lambda: bmp_runs(5_000, 5_000, b"\1\1" * 10_000_000 + b"\0\1"),
    "tiff of four million tiles": lambda: tiff(
        [(256, 4, 1, 2000), (257, 4, 1, 2000), (322, 4, 1, 1), (323, 4, 1, 1), (324, 4, 4_000_000, None)],
        struct.pack("<I", 8) * 4_000_000,
    ),
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_files_of_too_many_parts_are_refused_at_once(name: str) -> None:
    data = EXPENSIVE[name]()
    kind = sniff(data)
    assert kind is not None
    began = time.monotonic()
    with pytest.raises(InvalidImageError):
        check(data, kind)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("name", "data"), files().items(), ids=files())
def test_honest_files_pass(name: str, data: bytes) -> None:
    kind = sniff(data)
    assert kind == name.split()[0].upper()
    check(data, kind)


def test_large_honest_files_pass() -> None:
    noise = Image.effect_noise((2_000, 1_500), 90)
    for kind, options in (("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("TIFF", {})):
        check(encode_image(noise, kind, **options), kind)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"GIF89",
        b"RIFF\0\0\0\0WAVE",
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"PK\3\4",
    ],
)
def test_other_files_have_no_kind(data: bytes) -> None:
    assert sniff(data) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_any_prefix_can_be_checked(kind: str) -> None:
    data = encode_image(gradient(), kind)
    for length in range(0, len(data), max(1, len(data) // 200)):
        check(data[:length], kind)


def test_stripping_a_jpeg_keeps_its_pixels_and_nothing_else() -> None:
    exif = Image.Exif()
    exif[0x010E] = "my secret garden"
    exif.get_ifd(0x8825)[1] = "N"
    image = gradient()
    data = encode_image(
        image, "JPEG", exif=exif, comment=b"a comment", icc_profile=b"profile" * 99, dpi=(300, 300)
    )
    stripped = strip_jpeg(data + b"whatever follows the end")
    again = Image.open(io.BytesIO(stripped))
    assert again.tobytes() == Image.open(io.BytesIO(data)).tobytes()
    assert not again.getexif()
    assert set(again.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    for secret in (b"secret", b"comment", b"profile", b"follows", b"Exif"):
        assert secret not in stripped


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"keep_rgb": True}]
)
def test_stripping_keeps_every_kind_of_jpeg_readable(mode: str, options: dict[str, object]) -> None:
    data = encode_image(gradient().convert(mode), "JPEG", **options)
    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(strip_jpeg(data)))
    assert before.mode == after.mode
    assert before.tobytes() == after.tobytes()
