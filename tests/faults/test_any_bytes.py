"""Whatever bytes come as an image: a sensible answer, or a refusal in one of a few fixed sentences."""

from __future__ import annotations

import io
import random
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.faults.chaos import encoded_bomb
from tests.live import Live
from tests.photos import encode_photo, photo
from tests.unit.media.test_images import SENTENCE

LABELS = {"labels": "cat,dog,rocket"}


def sideways() -> bytes:
    """The cat lying on its side, with an EXIF note to turn it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode_photo(photo("chelsea").rotate(90, expand=True), exif=exif)


def animated(kind: str) -> bytes:
    """The cat first, then grey frames."""
    cat = photo("chelsea")
    rest = [Image.new("RGB", cat.size, (level, level, level)) for level in (0, 90, 180)]
    return encode_photo(cat, kind, save_all=True, append_images=rest, duration=50)


def sixteen_bit() -> bytes:
    """The cat in 16 grey bits."""
    grey = np.asarray(photo("chelsea").convert("L"), dtype=np.uint16) * 257
    return encode_photo(Image.fromarray(grey), "PNG")


def palette_with_transparency() -> bytes:
    """The cat in 256 colours, one of them see-through."""
    return encode_photo(photo("chelsea").quantize(256), "PNG", transparency=0)


def see_through() -> bytes:
    """The cat with an alpha channel."""
    cat = photo("chelsea")
    cat.putalpha(230)
    return encode_photo(cat, "PNG")


GOOD = {
    "jpeg": lambda: encode_photo(photo("chelsea")),
    "progressive": lambda: encode_photo(photo("chelsea"), progressive=True),
    "png": lambda: encode_photo(photo("chelsea"), "PNG"),
    "webp": lambda: encode_photo(photo("chelsea"), "WEBP"),
    "bmp": lambda: encode_photo(photo("chelsea"), "BMP"),
    "tiff": lambda: encode_photo(photo("chelsea"), "TIFF"),
    "cmyk": lambda: encode_photo(photo("chelsea").convert("CMYK")),
    "grey": lambda: encode_photo(photo("chelsea").convert("L")),
    "animated gif": lambda: animated("GIF"),
    "animated webp": lambda: animated("WEBP"),
    "16 bit": sixteen_bit,
    "palette": palette_with_transparency,
    "alpha": see_through,
    "exif": sideways,
    "large": lambda: encode_photo(photo("chelsea").resize((5000, 3300))),
}
UNUSUAL = {
    "one pixel": lambda: encode_photo(Image.new("RGB", (1, 1)), "PNG"),
    "a line": lambda: encode_photo(Image.new("RGB", (4000, 1)), "PNG"),
    "one bit": lambda: encode_photo(Image.new("1", (64, 64)), "PNG"),
    "float tiff": lambda: encode_photo(Image.new("F", (64, 64), 0.5), "TIFF"),
    "32-bit tiff": lambda: encode_photo(Image.new("I", (64, 64), 70_000), "TIFF"),
}


def bad() -> dict[str, bytes]:
    """Bytes that are no image, or one that must not be decoded."""
    jpeg, png = encode_photo(photo("chelsea")), encode_photo(photo("chelsea"), "PNG")
    wide = encode_photo(Image.new("1", (60_000, 2)), "PNG")
    ppm = io.BytesIO()
    Image.new("RGB", (8, 8)).save(ppm, "PPM")
    archive = b"PK\x03\x04" + bytes(100)
    return {
        "nothing": b"",
        "a byte": b"\xff",
        "text": b"hello",
        "html": b"<html><script>alert(1)</script></html>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "zip": archive,
        "gzip": b"\x1f\x8b" + bytes(50),
        "elf": b"\x7fELF" + bytes(200),
        "ppm": ppm.getvalue(),
        "truncated jpeg": jpeg[: len(jpeg) // 2],
        "truncated png": png[: len(png) // 2],
        "jpeg head": jpeg[:30],
        "wide": wide,
        "bomb": encoded_bomb(),
        "lying gif": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + bytes(40),
        "png with broken data": png[:60] + zlib.compress(b"x") + png[70:],
    }


def classify(live: Live, data: bytes, *, raw: bool) -> object:
    """The reply to the bytes, as a raw body or as a form."""
    with live.client() as client:
        if raw:
            return client.post(
                "/v1/classify", params=LABELS, content=data, headers={"Content-Type": "image/png"}
            )
        return client.post("/v1/classify", data=LABELS, files={"image": ("anything.bin", data, "text/plain")})


@pytest.mark.parametrize("kind", GOOD)
def test_every_kind_of_picture_of_a_cat_is_a_cat(service: Live, kind: str) -> None:
    reply = classify(service, GOOD[kind](), raw=kind in ("png", "alpha"))
    assert reply.status_code == 200, reply.text
    assert reply.json()["scores"][0]["label"] in ("cat", "dog"), reply.json()


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_pictures_get_an_answer_or_a_refusal(service: Live, kind: str) -> None:
    assert classify(service, UNUSUAL[kind](), raw=False).status_code in (200, 413, 422)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "form"])
def test_everything_else_is_refused_in_fixed_words(service: Live, raw: bool) -> None:
    sentences = set()
    for kind, data in bad().items():
        reply = classify(service, data, raw=raw)
        assert reply.status_code in (400, 413, 422), (kind, reply.status_code, reply.text)
        assert reply.headers["content-type"] == "application/problem+json"
        problem = reply.json()
        assert problem["error"]["message"] == problem["detail"]
        sentences.add(problem["detail"])
    words = re.compile(f"{SENTENCE.pattern}|The image has more than the .+|.*(empty|no image|bytes).*")
    assert all(words.fullmatch(sentence) for sentence in sentences), sentences


def test_random_damage_never_makes_an_error_of_ours(service: Live) -> None:
    dice = random.Random(7)
    files = [
        encode_photo(photo("chelsea").resize((160, 120)), kind)
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
    ]
    with service.client() as client:
        for _ in range(150):
            data = bytearray(dice.choice(files))
            for _ in range(dice.randint(1, 12)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            if dice.random() < 0.3:
                del data[dice.randrange(len(data)) :]
            reply = client.post("/v1/classify", data=LABELS, files={"image": bytes(data)})
            assert reply.status_code in (200, 400, 413, 422), (reply.status_code, reply.text)


def test_a_media_type_that_is_no_image_is_415(service: Live) -> None:
    with service.client() as client:
        reply = client.post("/v1/classify", content=b"x", headers={"Content-Type": "application/zip"})
    assert reply.status_code == 415
