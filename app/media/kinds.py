"""What a file is, by its first bytes: the image formats that are read, and names for what people send instead.

Declared types and file names count for nothing.
"""

from __future__ import annotations

_PNG = b"\x89PNG\r\n\x1a\n"
_CUT_CHARS = 3
_HEAD_BYTES = 1_024
"""How much of a text is looked at."""
_TIFF = (b"II*\0", b"MM\0*", b"II+\0")
_JPEG2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_MAX_BRANDS = 32

NAMES = {"WEBP": "WebP", "JPEG2000": "JPEG 2000"}
"""What people call a format, where that is not what `sniff` does."""
READABLE = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC or JPEG 2000"
"""The formats that are read, as a sentence names them."""

_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    # Pillow takes its numbers for those of a small one
    (0, b"MM\0+", "a BigTIFF of big-endian numbers, which is not read"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\1\0", "a Windows icon"),
    (0, b"\0\0\2\0", "a Windows cursor"),
    (0, b"icns", "a macOS icon"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (0, b"FUJIFILMCCD-RAW", "a raw camera file"),
    (0, b"IIRO", "a raw camera file"),
    (0, b"IIU\0", "a raw camera file"),
    (0, b"qoif", "a QOI image"),
    (0, b"v/1\x01", "an OpenEXR image"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"DDS ", "a DirectDraw texture"),
    (0, b"SIMPLE  =", "a FITS file"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (128, b"DICM", "a DICOM file"),
    (0, b"n+1\0", "a NIfTI volume"),
    (344, b"n+1\0", "a NIfTI volume"),
    (0, b"\0\5\x16\7", "what macOS writes beside a file (its name begins with ._)"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"\0\0\1\xba", "a video"),
    (0, b"\0\0\1\xb3", "a video"),
    (0, b"FLV\1", "a video"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video"),
    (8, b"AVI LIST", "a video"),
    (8, b"WAVE", "a sound file"),
    (0, b"ID3", "a sound file"),
    (0, b"OggS", "a sound or video file"),
    (0, b"fLaC", "a sound file"),
    (0, b"PK\3\4", "a zip archive or an Office document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\xd0\xcf\x11\xe0", "an Office document"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"SQLite format 3", "a database"),
    (0, b"wOF", "a font"),
)
"""(where, the bytes there, what the file is)."""
_NETPBM = frozenset({b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"PF", b"Pf"})
_BASE64 = ("/9j/", "ivborw0kggo", "r0lgod", "uklgr")
"""How JPEG, PNG, GIF and WebP begin, in lower case."""
_TEXTS: tuple[tuple[str, str], ...] = (
    (
        "version https://git-lfs.github.com/spec/",
        "a Git LFS pointer in the place of a file: fetch it by git lfs pull",
    ),
    ("<!doctype html", "a web page (HTML)"),
    ("<html", "a web page (HTML)"),
    ("<svg", "an SVG drawing"),
    ("<!doctype svg", "an SVG drawing"),
    *((start, "an image written as base64, which belongs in JSON or a data: URI") for start in _BASE64),
    ("{", "a JSON text"),
    ("[", "a JSON text"),
    ("http://", "an address, and addresses are not fetched"),
    ("https://", "an address, and addresses are not fetched"),
    ("<", "an XML text"),
)


def sniff(data: bytes) -> str | None:
    """The format that is read whose signature the bytes carry, or None.

    JPEG, PNG, WEBP, GIF, BMP, TIFF (BigTIFF included), AVIF, HEIC or JPEG2000.
    """
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == _PNG:
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:2] == b"BM":
        return "BMP"
    if data.startswith(_TIFF):
        return "TIFF"
    if data.startswith(_JPEG2000):
        return "JPEG2000"
    brands = _brands(data)
    if not _AVIF_BRANDS.isdisjoint(brands):
        return "AVIF"
    return None if _HEIC_BRANDS.isdisjoint(brands) else "HEIC"


def describe(data: bytes) -> str:
    """What a file is that `sniff` does not know, as a sentence goes on after "This is"."""
    if not data:
        return "an empty file"
    if not data.strip(b"\0"):
        return "a file of nothing but zeros, as a broken download leaves"
    if brands := _brands(data):
        return "a raw camera file" if b"crx " in brands else "a video"
    for start, magic, kind in _OTHERS:
        if data[start : start + len(magic)] == magic:
            return kind
    if data[:2] in _NETPBM and data[2:3] in (b"\n", b" ", b"\t", b"\r", b"#"):
        return "a Netpbm image"
    return _describe_text(data) or "no image that this service knows"


def _describe_text(data: bytes) -> str | None:
    head = data[:_HEAD_BYTES]
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = head.decode(encoding, errors="replace")
    text = text[:-_CUT_CHARS] if len(data) > _HEAD_BYTES else text  # the last one may be cut in two
    text = text.strip().lower()
    if "\ufffd" in text or any(not c.isprintable() and not c.isspace() for c in text):
        return None
    if text.startswith("<?xml") and "<svg" in text:
        return "an SVG drawing"
    for beginning, kind in _TEXTS:
        if text.startswith(beginning):
            return kind
    return "a text"


def _brands(data: bytes) -> set[bytes]:
    """The brands of an ISO media file (ISO/IEC 14496-12, section 4.3); empty for any other."""
    if data[4:8] != b"ftyp":
        return {b"qt  "} if data[4:8] in (b"moov", b"mdat", b"wide") else set()
    end = min(int.from_bytes(data[:4], "big"), 16 + 4 * _MAX_BRANDS, len(data))
    return {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}
