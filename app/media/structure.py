"""How image files are built: whether they are cheap enough to hand to a decoder, and whether they are whole.

Looks at markers, chunks and block lengths only; decodes nothing.

A decoder walks a file's parts one by one, and a progressive JPEG is walked once a scan, whatever its size. So
a small upload can keep a core busy for minutes; counting the parts first costs microseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from app.media.errors import InvalidImageError

MAX_JPEG_SEGMENTS = 4_096
MAX_JPEG_SCANS = 64
"""Encoders write about ten scans; each costs a pass over the whole image."""
MAX_JPEG_STRAY_BYTES = 65_536
"""Bytes between segments, which decoders skip one by one."""
MAX_PNG_CHUNKS = 16_384
MAX_GIF_BLOCKS = 65_536
"""Blocks of comments and extensions before the first frame."""
MAX_BMP_RUNS_BYTES = 1 << 20
"""Largest run-length coded BMP; Pillow decodes these runs in Python."""
MAX_TIFF_VALUES = 131_072
"""Most numbers under one tag, such as the offsets of strips: one row a strip makes 30,000."""

_PNG = b"\x89PNG\r\n\x1a\n"
_EOI, _SOS, _APP0, _APP14 = 0xD9, 0xDA, 0xE0, 0xEE
_SCAN_DATA = 0
"""Stands for the coded pixels that follow a scan's header and have no marker of their own."""
_SEQUENTIAL = {0xC0, 0xC1, 0xC9}
_PROGRESSIVE = {0xC2, 0xCA}
_FRAMES = _SEQUENTIAL | _PROGRESSIVE
_HUFFMAN = {0xC0, 0xC1, 0xC2}
_OTHER_FRAMES = {*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Lossless, hierarchical and arithmetic coding."""
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_MARKER = re.compile(rb"\xff([^\x00\xff])")
_MARKER_IN_SCAN = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_PICTURE_SEGMENTS = {*range(0xC0, 0xD0), _SOS, 0xDB, 0xDC, 0xDD}
"""Frame headers, tables, restart interval, line count and scans: what pixels need, and nothing else."""
_PLAIN_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


def check(data: bytes, kind: str) -> None:
    """Raise InvalidImageError when the file has more parts than any honest encoder writes."""
    if kind == "JPEG":
        _check_jpeg(data)
    elif kind == "PNG":
        _check_png(data)
    elif kind == "GIF":
        _check_gif(data)
    elif kind == "BMP":
        is_runs = int.from_bytes(data[30:34], "little") in (1, 2)
        if is_runs and len(data) > MAX_BMP_RUNS_BYTES:
            raise InvalidImageError(reason="too many BMP runs")
    elif kind == "TIFF":
        _check_tiff(data)


def strip_jpeg(data: bytes) -> bytes:
    """The same JPEG, its pixels bit for bit, without metadata: no EXIF, ICC, XMP, comments, previews or tail.

    Only the colour transform that JFIF and Adobe markers announce is kept, in markers written afresh.
    """
    kept = [b"\xff\xd8"]
    for marker, start, end in _jpeg_segments(data):
        if marker in _PICTURE_SEGMENTS:
            kept.append(bytes((0xFF, marker)) + data[start:end])
        elif marker == _SCAN_DATA:
            kept.append(data[start:end].rstrip(b"\xff"))  # fill bytes, and half of an end marker
        elif marker == _APP0 and data[start + 2 : start + 7] == b"JFIF\x00":
            kept.append(_PLAIN_JFIF)
        elif marker == _APP14 and data[start + 2 : start + 7] == b"Adobe" and end - start >= 14:
            kept.append(b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + data[start + 13 : start + 14])
    kept.append(b"\xff\xd9")
    return b"".join(kept)


def _check_jpeg(data: bytes) -> None:
    scans, components = 0, 0
    for number, (marker, start, _) in enumerate(_jpeg_segments(data)):
        if marker in _SEQUENTIAL:
            components = data[start + 7] if start + 7 < len(data) else 0
        elif marker == _SOS:
            scans += 1
            if data[start + 2 : start + 3] == bytes([components]):
                return  # all of a sequential image in one scan: decoded in one pass, whatever follows
        if number >= MAX_JPEG_SEGMENTS or scans > MAX_JPEG_SCANS:
            raise InvalidImageError(reason="too many JPEG segments")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start of the length field, end) up to the first end of image; the last one is (_EOI, end, end) where
    there is an end.

    As forgiving as decoders are: bytes that belong to no segment are skipped, up to a limit.
    """
    position, stray = 2, 0
    while found := _MARKER.search(data, position):
        marker, start = found[1][0], found.end()
        stray += start - position
        if stray > MAX_JPEG_STRAY_BYTES:
            raise InvalidImageError(reason="too many stray bytes in a JPEG")
        if marker == _EOI:
            yield _EOI, start, start
            return
        position = start
        if marker in _STANDALONE:
            continue
        position = min(start + max(2, int.from_bytes(data[start : start + 2], "big")), len(data))
        yield marker, start, position
        if marker == _SOS:
            following = _MARKER_IN_SCAN.search(data, position)
            end = following.start() if following else len(data)
            yield _SCAN_DATA, position, end
            position = end


def is_ordinary_jpeg(data: bytes) -> bool:
    """Whether a JPEG has one frame, Huffman-coded in 8-bit samples of 1 or 3 components, and an end marker."""
    frames, marker = 0, 0
    for marker, start, _ in _jpeg_segments(data):
        if marker in _HUFFMAN:
            frames += 1
            if data[start + 2 : start + 3] != b"\x08" or data[start + 7 : start + 8] not in (
                b"\x01",
                b"\x03",
            ):
                return False
        elif marker in _OTHER_FRAMES:
            return False
    return frames == 1 and marker == _EOI


def lacks_end(data: bytes) -> bool:
    """Whether a JPEG has no end marker; what comes after one counts for nothing."""
    return all(marker != _EOI for marker, _, _ in _jpeg_segments(data))


def with_end(data: bytes, filler: bytes = b"") -> bytes:
    """A JPEG that lacks its end marker with one, after `filler`."""
    return data.rstrip(b"\xff") + filler + b"\xff\xd9"


def has_all_scans(data: bytes) -> bool:
    """Whether a JPEG's scans bring every coefficient of every component to its last bit (ITU-T T.81, annex G)."""
    components: set[int] = set()
    missing: set[tuple[int, int]] = set()
    is_progressive = False
    for marker, start, end in _jpeg_segments(data):
        if marker in _FRAMES:
            is_progressive = marker in _PROGRESSIVE
            components = set(data[start + 8 : min(end, start + 8 + 3 * data[start + 7]) : 3])
            missing = {(component, k) for component in components for k in range(64 if is_progressive else 1)}
        elif marker == _SOS and end - start >= 6:
            count = data[start + 2]
            band = data[start + 3 + 2 * count : start + 6 + 2 * count]
            if is_progressive and (len(band) < 3 or band[2] & 15):
                continue  # bits of it are still to come
            first, last = (band[0], band[1]) if is_progressive else (0, 0)
            named = data[start + 3 : start + 3 + 2 * count : 2]
            missing -= {(component, k) for component in named for k in range(first, last + 1)}
    return bool(components) and not missing


def is_baseline_jpeg(data: bytes) -> bool:
    """Whether a JPEG is coded as every decoder reads it: 8 bits, sequential, Huffman, all components in one scan, and
    stored in grey or YCbCr, as JFIF and Adobe markers or the components' numbers say (as libjpeg reads them).
    """
    components = b""
    is_jfif, transform = False, -1
    for marker, start, end in _jpeg_segments(data):
        if marker == _APP0 and data[start + 2 : start + 7] == b"JFIF\x00":
            is_jfif = True
        elif marker == _APP14 and data[start + 2 : start + 7] == b"Adobe" and end - start >= 14:
            transform = data[start + 13]
        elif marker in _FRAMES:
            if marker != 0xC0 or components or data[start + 2] != 8:
                return False
            components = data[start + 8 : min(end, start + 8 + 3 * data[start + 7]) : 3]
        elif marker == _SOS:
            if data[start + 2] != len(components):
                return False
            return len(components) == 1 or (
                len(components) == 3
                and (is_jfif or transform == 1 or (transform == -1 and components == b"\x01\x02\x03"))
            )
    return False


def _check_png(data: bytes) -> None:
    position, count = len(_PNG), 0
    while position < len(data):
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        count += 1
        if count > MAX_PNG_CHUNKS:
            raise InvalidImageError(reason="too many PNG chunks")


def _check_gif(data: bytes) -> None:
    position, count = 13, 0
    if len(data) > 10 and data[10] & 0x80:
        position += 3 << ((data[10] & 7) + 1)
    while position < len(data) and data[position] not in b",;" and count <= MAX_GIF_BLOCKS:
        count += 1
        if data[position] != 0x21:  # decoders skip what is neither frame, extension nor end
            position += 1
            continue
        position += 2
        while position < len(data) and data[position] and count <= MAX_GIF_BLOCKS:
            position += 1 + data[position]
            count += 1
        position += 1
    if count > MAX_GIF_BLOCKS:
        raise InvalidImageError(reason="too many GIF blocks")


def _check_tiff(data: bytes) -> None:
    """Only the first directory is ever read. Bytes and texts (types 1, 2, 6, 7) may be long: profiles are."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    is_big = data[2:3] == b"+"  # BigTIFF: 8 bytes for each place and count
    place, number, entry = (8, 8, 20) if is_big else (4, 2, 12)
    first = int.from_bytes(data[place : 2 * place], order)
    entries = int.from_bytes(data[first : first + number], order)
    start = first + number
    for at in range(start, min(start + entry * entries, len(data)), entry):
        kind = int.from_bytes(data[at + 2 : at + 4], order)
        count = int.from_bytes(data[at + 4 : at + 4 + place], order)
        if count > MAX_TIFF_VALUES and kind not in (1, 2, 6, 7):
            raise InvalidImageError(reason="too many TIFF values")
