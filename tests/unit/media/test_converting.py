"""AVIF, HEIC and JPEG 2000 are pictures like any other, decoded in a process with limits."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pillow_heif
import psutil
import pytest
from PIL import Image

from app.errors import CheckLimitError, OverloadedError
from app.media import converting
from app.media.converting import DecoderLimits
from app.media.errors import ImageTooLargeError, InvalidImageError
from app.media.images import ImageLimits, decode, normalise_for_storage
from tests.engines import until
from tests.image_files import encode_image, gradient

LIMITS = ImageLimits(
    max_pixels=1_000_000, max_side=5_000, stored_side=512, decoder=DecoderLimits(seconds=120)
)
NAMES = {"AVIF": "AVIF", "HEIC": "HEIC", "JPEG2000": "JPEG 2000"}


def written(image: Image.Image, kind: str, *, turned: bool = False) -> bytes:
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    if kind == "HEIC":
        buffer = io.BytesIO()
        pillow_heif.from_pillow(image).save(buffer, quality=95, exif=exif.tobytes() if turned else None)
        return buffer.getvalue()
    return encode_image(image, kind, exif=exif) if turned else encode_image(image, kind)


@pytest.mark.parametrize("kind", NAMES)
def test_the_picture_is_read(kind: str) -> None:
    image = decode(written(gradient(64, 48), kind), LIMITS)
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - np.asarray(gradient(64, 48))).mean() < 8


@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
def test_it_is_turned_upright(kind: str) -> None:
    image = decode(written(gradient(64, 48), kind, turned=True), LIMITS)
    expected = gradient(64, 48).transpose(Image.Transpose.ROTATE_270)
    assert image.size == (48, 64)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(expected)).mean() < 8


def test_it_is_stored_as_jpeg_of_the_same_picture() -> None:
    stored = normalise_for_storage(written(gradient(64, 48), "AVIF"), LIMITS)
    assert (stored.media_type, stored.width, stored.height) == ("image/jpeg", 64, 48)
    difference = np.abs(np.asarray(decode(stored.bytes, LIMITS)).astype(int) - np.asarray(gradient(64, 48)))
    assert difference.mean() < 8


def test_sizes_are_checked_before_decoding() -> None:
    with pytest.raises(ImageTooLargeError):
        decode(written(gradient(1_100, 1_000), "JPEG2000"), LIMITS)


@pytest.mark.parametrize("kind", NAMES)
def test_a_damaged_one_is_named(kind: str) -> None:
    data = written(gradient(64, 48), kind)
    with pytest.raises(InvalidImageError, match=f"This {NAMES[kind]} image could not be read"):
        decode(data[: len(data) // 3], LIMITS)


def test_decoding_ends_at_its_limits() -> None:
    data = written(gradient(4_000, 3_000), "JPEG2000")
    tight = ImageLimits(decoder=DecoderLimits(memory_mb=256, seconds=120))
    with pytest.raises(CheckLimitError, match="Decoding the JPEG 2000 image took more memory"):
        decode(data, tight)


async def convert_small(wait_s: float) -> bytes:
    return await converting.convert_async(
        written(gradient(64, 48), "AVIF"),
        "AVIF",
        max_pixels=1_000_000,
        max_side=5_000,
        limits=DecoderLimits(seconds=120, at_once=1),
        wait_s=wait_s,
    )


async def test_who_waits_too_long_for_a_decoder_is_told_to_come_back() -> None:
    give_back = converting._SLOTS.take(1)  # as another process of the service would
    assert give_back is not None
    try:
        both = await asyncio.gather(convert_small(0.2), convert_small(0.2), return_exceptions=True)
    finally:
        give_back()
    assert [type(error) for error in both] == [OverloadedError] * 2
    assert (await convert_small(60)).startswith(b"\xff\xd8")


async def test_decoding_ends_with_who_asked_for_it() -> None:
    asked = asyncio.create_task(
        converting.convert_async(
            written(gradient(4_000, 3_000), "JPEG2000"),
            "JPEG2000",
            max_pixels=40_000_000,
            max_side=5_000,
            limits=DecoderLimits(seconds=120, at_once=1),
            wait_s=60,
        )
    )

    def decoders() -> list[psutil.Process]:
        found = []
        for child in psutil.Process().children():
            with suppress(psutil.Error):  # it has just ended
                if "app.bounded.process" in child.cmdline():
                    found.append(child)
        return found

    await until(decoders)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await until(lambda: not decoders())


def test_the_decoder_is_never_in_the_process_that_asks(tmp_path: Path) -> None:
    (tmp_path / "a.avif").write_bytes(written(gradient(), "AVIF"))
    code = (
        "import sys, pathlib\n"
        "from app.media.images import ImageLimits, decode\n"
        "image = decode(pathlib.Path(sys.argv[1]).read_bytes(), ImageLimits())\n"
        "print(image.size, [name for name in sys.modules if 'avif' in name.lower()])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.avif"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "(48, 36) []"


def test_without_the_decoder_the_photo_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as where the extra is not installed
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(InvalidImageError, match=r"This is an HEIC image.*llamafarm-vision\[heif\]"):
        converting.convert_request(str(tmp_path / "a.heic"), str(tmp_path / "out"), "HEIC", 100, 100, 1 << 30)
