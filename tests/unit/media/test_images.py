"""Any bytes at all: an RGB image, InvalidImageError or ImageTooLargeError, quickly and in bounded memory."""

from __future__ import annotations

import io
import random
import re
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from app.media.errors import ImageTooLargeError, InvalidImageError
from app.media.images import ImageLimits, decode
from app.settings import Settings
from tests.image_files import bmp_runs, encode_image, files, gradient, png, png_chunk, tiff
from tests.photos import photo

LIMITS = ImageLimits(max_pixels=1_000_000, max_side=5_000, stored_side=512)
FILES = files()
SENTENCE = re.compile(
    f"{InvalidImageError.__doc__}|{ImageTooLargeError.__doc__}|This is .+: send a whole .+"
    "|This .+ image could not be read: it is damaged or cut short. Send the whole file."
    "|This JPEG image is cut short: send the whole file.|The image (is transparent|holds no valid sample).+"
)
"""Every sentence that an image is refused with; none of them repeats what was in the file."""


FUZZ = settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def outcome(data: bytes, limits: ImageLimits = LIMITS, input_size: int | None = None) -> Image.Image | None:
    """The image, or None for one of the two errors; anything else fails the test."""
    try:
        image = decode(data, limits, input_size=input_size)
    except (InvalidImageError, ImageTooLargeError) as error:
        fixed = SENTENCE.fullmatch(error.detail) or error.detail.startswith("The image has more than the ")
        return None if fixed else pytest.fail(error.detail)
    assert image.mode == "RGB"
    assert not image.info
    image.tobytes()
    return image


# --- any bytes


@FUZZ
@given(st.binary(max_size=300))
@example(b"")
def test_random_bytes_never_surprise(data: bytes) -> None:
    assert outcome(data) is None


@FUZZ
@given(st.sampled_from(sorted(FILES)), st.binary(max_size=200), st.integers(0, 40))
def test_random_bytes_after_a_real_beginning_never_surprise(name: str, tail: bytes, kept: int) -> None:
    outcome(FILES[name][:kept] + tail)


@FUZZ
@given(st.sampled_from(sorted(FILES)), st.data())
def test_damaged_files_never_surprise(name: str, draw: st.DataObject) -> None:
    data = bytearray(FILES[name])
    # Headers decide most of what a decoder does, so half of the damage goes there.
    spots = st.one_of(st.integers(0, min(120, len(data) - 1)), st.integers(0, len(data) - 1))
    for spot, value in draw.draw(st.lists(st.tuples(spots, st.integers(0, 255)), min_size=1, max_size=8)):
        data[spot] = value
    outcome(bytes(data))
    outcome(bytes(data), input_size=8)


@FUZZ
@given(st.sampled_from(sorted(FILES)), st.data())
def test_spliced_files_never_surprise(name: str, draw: st.DataObject) -> None:
    data = FILES[name]
    other = FILES[draw.draw(st.sampled_from(sorted(FILES)))]
    start, end = sorted(draw.draw(st.tuples(st.integers(0, len(data)), st.integers(0, len(data)))))
    outcome(data[:start] + other[start : start + 50] + data[end:])


@pytest.mark.parametrize("name", FILES)
def test_truncated_files_are_refused(name: str) -> None:
    data = FILES[name]
    for percent in (1, 10, 30) if name == "gif" else (1, 10, 30, 50, 70, 80):  # its second frame may be lost
        with pytest.raises(InvalidImageError):
            decode(data[: len(data) * percent // 100], LIMITS)
    for missing in range(1, 40):
        outcome(data[:-missing])


def test_other_file_types_are_refused() -> None:
    others = [
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"#!/bin/sh\necho",
        b"PK\x03\x04" + bytes(100),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"P6 4 4 255\n" + bytes(48),
        Path(__file__).read_bytes(),
        encode_image(gradient(), "ICO"),
        encode_image(gradient(), "TGA"),
        encode_image(gradient(), "PDF"),
        encode_image(gradient(), "EPS"),
        b"\xff\xd8\xff",
        b"BM",
        b"MM\0*",
    ]
    for data in others:
        with pytest.raises(InvalidImageError):
            decode(data, LIMITS)


# --- sizes


def test_a_sixty_thousand_pixel_wide_png_is_too_large() -> None:
    with pytest.raises(ImageTooLargeError):
        decode(png(60_000, 4), ImageLimits())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_sizes_are_checked_for_every_format_before_decoding(kind: str) -> None:
    image = Image.new("L", (1_100, 1_000))
    data = encode_image(image, kind)
    with pytest.raises(ImageTooLargeError):
        decode(data, LIMITS)
    with pytest.raises(InvalidImageError if kind == "WEBP" else ImageTooLargeError):
        decode(data[: max(200, len(data) // 2)], LIMITS)
    with pytest.raises(ImageTooLargeError):
        decode(encode_image(Image.new("L", (5_001, 2)), kind), LIMITS)
    assert decode(encode_image(Image.new("L", (1_000, 1_000)), kind), LIMITS).size == (1_000, 1_000)


def test_sizes_beyond_the_librarys_own_limit_are_too_large_without_its_warning() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for side in (12_000, 2**31 - 1):
            with pytest.raises(ImageTooLargeError):
                decode(png(side, side, pixels=b""), ImageLimits())
    assert not heard
    assert Image.MAX_IMAGE_PIXELS is not None
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_larger_limit_than_the_librarys_is_honoured() -> None:
    wide = ImageLimits(max_pixels=200_000_000)
    data = encode_image(Image.new("1", (10_000, 9_500)), "PNG")
    assert decode(data, wide, input_size=100).size[0] < 1_000


def test_images_without_pixels_are_refused() -> None:
    with pytest.raises(InvalidImageError):
        decode(png(0, 5, pixels=b""), LIMITS)


def test_a_tile_larger_than_the_limit_is_refused() -> None:
    tags = [(256, 4, 1, 20), (257, 4, 1, 20), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1), (277, 3, 1, 1)]
    tiles = [(322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 8), (325, 4, 1, 100)]
    with pytest.raises(ImageTooLargeError):
        decode(tiff(tags + tiles, bytes(2_000)), LIMITS)


# --- bombs


def test_compressed_texts_and_profiles_do_not_unfold() -> None:
    bomb = zlib.compress(bytes(100 << 20), 9)
    for kind in (b"zTXt", b"iCCP"):
        began = time.monotonic()
        outcome(png(4, 4, extra=png_chunk(kind, b"key\0\0" + bomb)))
        outcome(png(4, 4, extra=png_chunk(kind, b"key\0\0" + zlib.compress(bytes(1 << 20), 9)) * 200))
        assert time.monotonic() - began < 5


def test_large_metadata_is_no_obstacle() -> None:
    image = gradient()
    profile = random.Random(1).randbytes(2 << 20)
    data = encode_image(
        image, "JPEG", icc_profile=profile, exif=b"Exif\0\0" + bytes(65_000), comment=bytes(60_000)
    )
    assert decode(data, LIMITS).size == image.size
    assert decode(png(4, 4, extra=png_chunk(b"eXIf", bytes(5 << 20))), LIMITS).size == (4, 4)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_many_frames_only_the_first_is_decoded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.new("RGB", (400, 400), (i % 256, 200 if i else 10, 0)) for i in range(200)]
    data = encode_image(frames[0], kind, save_all=True, append_images=frames[1:])
    plugin = type(Image.open(io.BytesIO(data)))
    seek, sought = plugin.seek, []

    def note(image: Image.Image, frame: int) -> None:
        sought.append(frame)
        seek(image, frame)

    monkeypatch.setattr(plugin, "seek", note)
    image = decode(data, LIMITS)
    assert not any(sought)
    assert image.getpixel((200, 200))[1] < 40


def test_a_gif_frame_beyond_its_screen_counts() -> None:
    data = bytearray(encode_image(gradient().quantize(4), "GIF"))
    frame = data.index(b",", 13 + 3 * 4)
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(ImageTooLargeError):
        decode(bytes(data), LIMITS)


def test_a_small_run_length_bmp_is_read() -> None:
    runs = b"".join(bytes([20, 7]) + b"\0\0" for _ in range(10)) + b"\0\1"
    assert decode(bmp_runs(20, 10, runs), LIMITS).size == (20, 10)


def test_memory_stays_within_the_documented_bytes_a_pixel(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from app.media.images import ImageLimits, decode\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes()\n"
        # getrusage would begin at the peak of the process that started this one
        "status = pathlib.Path('/proc/self/status')\n"
        "peak = lambda: int(status.read_text().partition('VmHWM:')[2].split()[0]) * 1024\n"
        "before = peak()\n"
        "size = decode(data, ImageLimits(), input_size=int(sys.argv[2]) or None).size\n"
        "print(peak() - before)\n"
    )
    side = 2_500
    cases = [("RGBA", "PNG", 0, 9), ("F", "TIFF", 0, 10), ("RGB", "WEBP", 0, 20), ("RGB", "JPEG", 224, 1)]
    for mode, kind, input_size, bytes_a_pixel in cases:
        options = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
        path = tmp_path / f"{mode}.{kind}"
        path.write_bytes(
            encode_image(Image.new(mode, (side, side), "navy" if mode != "F" else 1.0), kind, **options)
        )
        done = subprocess.run(
            [sys.executable, "-c", code, path, str(input_size)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert int(done.stdout) < bytes_a_pixel * side * side + (16 << 20), (mode, kind)


# --- what comes out


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_picture(name: str) -> None:
    image = decode(FILES[name], LIMITS)
    turned = name in ("jpeg", "webp", "tiff")
    expected = gradient().transpose(Image.Transpose.ROTATE_270) if turned else gradient()
    assert image.size == expected.size
    tolerance = 25 if "palette" in name or name == "gif" else 8
    assert np.abs(np.asarray(image).astype(int) - np.asarray(expected)).mean() < tolerance


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_reduced_decoding_keeps_twice_the_input_size_and_the_picture(kind: str) -> None:
    large = gradient(900, 700)
    exif = Image.Exif()
    exif[0x0112] = 6
    reduced = decode(encode_image(large, kind, exif=exif), LIMITS, input_size=50)
    assert min(reduced.size) >= 100
    assert max(reduced.size) < 300
    assert reduced.height > reduced.width
    expected = large.transpose(Image.Transpose.ROTATE_270).resize(reduced.size)
    assert np.abs(np.asarray(reduced).astype(int) - np.asarray(expected)).mean() < 4
    assert decode(encode_image(large, kind), LIMITS, input_size=200).size == (900, 700)


def test_reduced_decoding_does_not_stretch_what_is_no_multiple_of_its_factor() -> None:
    large = photo("rocket").resize((750, 500))
    reduced = decode(encode_image(large, "PNG"), LIMITS, input_size=80)
    assert reduced.size == (250, 166)
    seen, wanted = (np.asarray(image.resize((96, 64))).astype(int) for image in (reduced, large))
    assert np.abs(seen - wanted).max() <= 10  # 22 where the last row stands for fewer pixels


def test_threads_decode_alike() -> None:
    from concurrent.futures import ThreadPoolExecutor

    names = sorted(FILES) * 5
    alone = {name: decode(FILES[name], LIMITS).tobytes() for name in FILES}
    with ThreadPoolExecutor(4) as pool:
        for name, image in zip(names, pool.map(lambda n: decode(FILES[n], LIMITS), names), strict=True):
            assert image.tobytes() == alone[name]


def test_limits_come_from_the_settings() -> None:
    limits = ImageLimits.from_settings(Settings(max_megapixels=1.5, max_side=99, stored_side=300))
    assert limits == ImageLimits(max_pixels=1_500_000, max_side=99, stored_side=300)
    assert ImageLimits.from_settings(Settings()) == ImageLimits()
