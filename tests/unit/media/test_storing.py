"""What is stored of an image, and its thumbnails: the picture without its metadata."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from app.media.errors import ImageTooLargeError, InvalidImageError
from app.media.images import ImageLimits, decode, normalise_for_storage, thumbnail
from tests.image_files import encode_image, files, gradient, png

LIMITS = ImageLimits(max_pixels=1_000_000, max_side=5_000, stored_side=512)
FILES = files()


@pytest.mark.parametrize("name", FILES)
def test_storing_keeps_the_picture_and_drops_the_metadata(name: str) -> None:
    stored = normalise_for_storage(FILES[name], LIMITS)
    assert stored == normalise_for_storage(FILES[name], LIMITS)
    again = Image.open(io.BytesIO(stored.bytes))
    assert (again.width, again.height) == (stored.width, stored.height)
    assert Image.MIME[again.format or ""] == stored.media_type
    assert not again.getexif()
    seen = decode(stored.bytes, LIMITS)
    difference = np.abs(np.asarray(seen).astype(int) - np.asarray(decode(FILES[name], LIMITS)))
    assert difference.mean() < 3
    if stored.media_type == "image/png" or name == "jpeg progressive":
        assert difference.max() == 0


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_no_place_or_camera_survives_storing(kind: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    secret = b"<x:xmpmeta>SecretPlace</x:xmpmeta>"
    data = encode_image(gradient(), kind, exif=exif, xmp=secret, icc_profile=b"SecretProfile" * 9)
    assert b"SecretCamera" in data
    stored = normalise_for_storage(data, LIMITS)
    assert b"Secret" not in stored.bytes
    assert "exif" not in Image.open(io.BytesIO(stored.bytes)).info


def test_metadata_alone_makes_no_other_image() -> None:
    image = gradient()
    plain = normalise_for_storage(encode_image(image, "JPEG"), LIMITS)
    commented = normalise_for_storage(
        encode_image(image, "JPEG", comment=b"hello", icc_profile=b"p" * 50), LIMITS
    )
    assert plain.bytes == commented.bytes


@pytest.mark.parametrize(
    ("kind", "media_type"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/jpeg")]
)
def test_what_is_stored_has_a_largest_side(kind: str, media_type: str) -> None:
    stored = normalise_for_storage(encode_image(gradient(1_200, 600), kind), LIMITS)
    assert (stored.width, stored.height) == (512, 256)
    assert stored.media_type == media_type


def test_storing_and_thumbnails_refuse_what_decoding_refuses() -> None:
    for data, error in ((b"no image", InvalidImageError), (png(6_000, 1), ImageTooLargeError)):
        with pytest.raises(error):
            normalise_for_storage(data, LIMITS)
        with pytest.raises(error):
            thumbnail(data, 64, LIMITS)


def test_a_thumbnail_is_a_small_upright_jpeg() -> None:
    small = Image.open(io.BytesIO(thumbnail(FILES["jpeg"], 24)))
    assert (small.format, small.size) == ("JPEG", (18, 24))
    assert Image.open(io.BytesIO(thumbnail(FILES["png"], 500))).size == (48, 36)
    long = Image.open(io.BytesIO(thumbnail(encode_image(gradient(1_000, 2), "PNG"), 100, LIMITS)))
    assert long.size == (100, 1)
