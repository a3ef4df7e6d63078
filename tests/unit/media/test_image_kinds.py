"""What a refused file is, is said; and the files that are nearly right are read."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.media.errors import InvalidImageError
from app.media.images import ImageLimits, decode, normalise_for_storage
from app.media.kinds import describe, sniff
from tests.image_files import encode_image, files, gradient, tiff
from tests.photos import photo

LIMITS = ImageLimits()
OTHERS = {
    b"": "an empty file",
    bytes(500): "nothing but zeros",
    b"%PDF-1.7\n%\xe2\xe3\xcf\xd3": "a PDF document",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>": "an SVG drawing",
    b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a --><svg/>": "an SVG drawing",
    b"<!DOCTYPE html><html><body>404</body></html>": "a web page",
    "<html>".encode("utf-16"): "a web page",
    b'{"error": "not found"}': "a JSON text",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n": "a Git LFS pointer",
    b"https://example.org/cat.jpg": "an address",
    b"just words": "a text",
    b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41": "a video",
    b"\0\0\0\x14ftypqt  \0\0\0\0qt  ": "a video",
    b"\x1aE\xdf\xa3" + bytes(30): "a video",
    b"RIFF\0\0\0\0AVI LIST": "a video",
    b"\0\0\0\x18ftypcrx \0\0\0\1crx isom": "a raw camera file",
    b"8BPS\0\1": "a Photoshop document",
    b"\xff\x0a\xfa\x1f": "a JPEG XL image",
    b"PK\3\4" + bytes(100): "a zip archive",
    b"\0\5\x16\7\0\2\0\0Mac OS X": "what macOS writes beside a file",
    b"P6 4 4 255\n" + bytes(range(200, 248)): "a Netpbm image",
    bytes(128) + b"DICM\2": "a DICOM file",
    bytes(range(128, 200)): "no image that this service knows",
}


@pytest.mark.parametrize("data", OTHERS)
def test_what_was_sent_instead_of_an_image_is_named(data: bytes) -> None:
    with pytest.raises(InvalidImageError, match=OTHERS[data]) as refused:
        decode(data, LIMITS)
    assert "JPEG" in refused.value.detail


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        (b"avif\0\0\0\0mif1", "AVIF"),
        (b"mif1\0\0\0\0mif1avif", "AVIF"),
        (b"heic\0\0\0\0mif1", "HEIC"),
        (b"msf1\0\0\0\0hevc", "HEIC"),
        (b"isom\0\0\0\0mp41", None),
    ],
)
def test_brands_decide_between_photos_and_videos(brands: bytes, kind: str | None) -> None:
    assert sniff(struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands) == kind


def test_any_beginning_is_described() -> None:
    for name, data in files().items():
        for cut in range(0, 40):
            assert describe(data[cut:]), name


JPEGS = {
    "plain": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 2},
    "grey": {"mode": "L"},
    "cmyk": {"mode": "CMYK"},
}


def jpeg(name: str) -> bytes:
    options = dict(JPEGS[name])
    return encode_image(gradient(90, 70).convert(str(options.pop("mode", "RGB"))), "JPEG", **options)


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_end_marker_alone_is_read(name: str, missing: int) -> None:
    data = jpeg(name)
    whole = decode(data, LIMITS)
    assert decode(data[:-missing], LIMITS).tobytes() == whole.tobytes()
    assert decode(data[:-missing], LIMITS, input_size=10).size == decode(data, LIMITS, input_size=10).size
    stored = normalise_for_storage(data[:-missing], LIMITS)
    assert stored == normalise_for_storage(data, LIMITS)


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_without_some_of_its_pixels_is_refused(name: str) -> None:
    data = jpeg(name)
    for missing in (10, 40, len(data) // 4, len(data) // 2):
        with pytest.raises(InvalidImageError):
            decode(data[:-missing], LIMITS)


@pytest.mark.parametrize("quality", [10, 75, 95])
@pytest.mark.parametrize("is_progressive", [False, True])
def test_no_pixel_of_a_cut_jpeg_is_made_up(quality: int, is_progressive: bool) -> None:
    data = encode_image(
        photo("chelsea").resize((160, 120)), "JPEG", quality=quality, progressive=is_progressive
    )
    whole = decode(data, LIMITS).tobytes()
    for missing in range(3, 24):
        try:
            picture = decode(data[:-missing], LIMITS)
        except InvalidImageError:
            continue
        assert picture.tobytes() == whole, missing


def test_a_progressive_jpeg_without_its_last_scan_is_refused() -> None:
    data = jpeg("progressive")
    with pytest.raises(InvalidImageError, match="cut short"):
        decode(data[: data.rindex(b"\xff\xda")], LIMITS)


def test_bytes_behind_the_end_of_a_jpeg_do_not_matter() -> None:
    data = jpeg("plain")
    assert decode(data + bytes(1_000), LIMITS).tobytes() == decode(data, LIMITS).tobytes()


def test_bigtiff_is_read() -> None:
    pixels = np.asarray(gradient())
    tags = [(256, 4, 48), (257, 4, 36), (258, 3, 8), (259, 3, 1), (262, 3, 2), (273, 16, 0), (277, 3, 3)]
    tags += [(278, 4, 36), (279, 16, pixels.nbytes)]
    start = 16 + 8 + 20 * len(tags) + 8
    head = b"II" + struct.pack("<HHHQQ", 43, 8, 0, 16, len(tags))
    directory = b""
    for tag, kind, value in tags:
        held = struct.pack("<Q", start if tag == 273 else value)
        directory += struct.pack("<HHQ", tag, kind, 1) + held
    image = decode(head + directory + bytes(8) + pixels.tobytes(), LIMITS)
    assert np.array_equal(np.asarray(image), pixels)
    with pytest.raises(InvalidImageError, match="big-endian"):
        decode(b"MM\0+\0\x08" + bytes(50), LIMITS)


def test_a_bigtiff_of_too_many_values_is_refused() -> None:
    tag = struct.pack("<HHQQ", 273, 16, 1 << 40, 0)
    with pytest.raises(InvalidImageError):
        decode(b"II" + struct.pack("<HHHQQ", 43, 8, 0, 16, 1) + tag + bytes(8), LIMITS)


def test_old_tiffs_are_read_as_before() -> None:
    assert sniff(tiff([(256, 4, 1, 1)])) == "TIFF"
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "navy").save(buffer, "TIFF")
    assert decode(buffer.getvalue(), LIMITS).getpixel((1, 1)) == (0, 0, 128)


def test_a_file_of_this_project_is_a_text() -> None:
    assert describe(Path(__file__).read_bytes()) == "a text"
