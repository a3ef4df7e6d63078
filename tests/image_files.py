"""Image files that tests are made from: one honest file a format, and builders for the dishonest ones."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def gradient(width: int = 48, height: int = 36) -> Image.Image:
    """A smooth RGB picture whose four corners differ, so that turning it shows."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


def encode_image(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The image as a file of that format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def files() -> dict[str, bytes]:
    """One small honest file of every format and of every encoding worth breaking."""
    image = gradient()
    palette = image.quantize(16)
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "jpeg": encode_image(image, "JPEG", exif=exif),
        "jpeg progressive": encode_image(image, "JPEG", progressive=True),
        "jpeg cmyk": encode_image(image.convert("CMYK"), "JPEG"),
        "png": encode_image(image, "PNG"),
        "png palette": encode_image(palette, "PNG", transparency=3),
        "webp": encode_image(image, "WEBP", exif=exif),
        "webp lossless": encode_image(image.convert("RGBA"), "WEBP", lossless=True),
        "gif": encode_image(palette, "GIF", save_all=True, append_images=[palette.rotate(90, expand=False)]),
        "bmp": encode_image(image, "BMP"),
        "tiff": encode_image(image, "TIFF", exif=exif),
        "tiff lzw": encode_image(image, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": encode_image(image, "TIFF", compression="jpeg"),
    }


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, extra: bytes = b"", pixels: bytes | None = None) -> bytes:
    """A black RGB PNG with chunks of one's own before its pixels, which may be missing or wrong."""
    if pixels is None:
        pixels = zlib.compress((b"\0" + bytes(3 * width)) * height)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    return PNG_SIGNATURE + body


def tiff(tags: list[tuple[int, int, int, int | None]], tail: bytes = b"") -> bytes:
    """A TIFF of (tag, type, count, value) entries; a value of None points at the tail."""
    end = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, kind, count, end if value is None else value)
        for tag, kind, count, value in tags
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tail


def bmp_runs(width: int, height: int, runs: bytes) -> bytes:
    """A run-length coded 8-bit BMP."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    start = 14 + len(header) + 1024
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + header + bytes(1024) + runs
