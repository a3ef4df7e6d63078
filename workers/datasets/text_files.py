"""Text files in the encoding that they are in, found by their bytes: UTF-8, UTF-16 and UTF-32 with or without a
byte order mark, and Windows-1252, which holds Latin-1.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from workers.datasets.records import Remark

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""UTF-32 before UTF-16, whose little-endian mark is the beginning of the other's."""
_NAMES = {"utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32": "UTF-32"}
MAX_LIST_BYTES = 1 << 26
"""Of a list of images, which is kept in memory."""
MAX_LINE_CHARACTERS = 1 << 16
"""Of a line of such a list."""
_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 4_096
_MIN_NUL_SHARE = 0.3
"""Of every second byte of a text without accents in UTF-16, nearly all are zero; of other texts none."""
_UTF8_SEQUENCE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}", re.DOTALL
)
_EASTERN = (
    ("shift_jis", "Shift-JIS", re.compile(rb"(?<![\x81-\x9f])[\xa0-\xdf]")),
    ("gb18030", "GBK", re.compile(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])|[\x81-\xa0]")),
)
"""With what is rare there: single katakana of Shift-JIS, and letters of Latin-1, which stand alone between ASCII."""
_MAX_BROKEN_SHARE = 0.1
_HIGH_BYTE = re.compile(rb"[\x80-\xff]")


@dataclass(frozen=True)
class Encoding:
    """How a file's bytes become text."""

    name: str
    guess: str | None = None
    """What is stated where the bytes do not say it by themselves."""

    def open(self, path: Path) -> IO[str]:
        """The file as text, line ends as they are; bytes that are no text of this encoding become U+FFFD."""
        return path.open(encoding=self.name, errors="replace", newline="")

    def remarks(self, name: str) -> Iterator[Remark]:
        """What the summary states about the file called `name`."""
        if self.guess:
            yield Remark(f"{name} was read as {self.guess}")


def find_encoding(path: Path) -> Encoding:
    """The encoding of a text file; all of it is looked at, a piece at a time."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        for mark, name in _MARKS:
            if head.startswith(mark):
                return Encoding(name, _NAMES.get(name))
        for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            places = head[start::2]
            if places.count(0) > _MIN_NUL_SHARE * max(len(places), 1):
                return Encoding(name, f"{_NAMES[name]} (it has no byte order mark)")
        file.seek(0)
        good, high = _count_utf8(file)
    if good == high:
        return Encoding("utf-8")
    if high - good <= _MAX_BROKEN_SHARE * high:
        return Encoding("utf-8", f"UTF-8, {high - good} bytes of which are none")
    for name, shown, pattern in _EASTERN:
        if _fits(path, name, pattern):
            return Encoding(name, f"{shown}: it is no valid UTF-8")
    return Encoding("cp1252", "Latin-1 (Windows-1252): it is no valid UTF-8")


def read_lines(text: IO[str], max_characters: int) -> Iterator[str]:
    """Lines with their ends; one that is longer comes in pieces."""
    while line := text.readline(max_characters):
        yield line


def read_first_lines(path: Path, count: int, max_characters: int = 1 << 20) -> list[str]:
    """Up to `count` lines that are not empty, without white space around them; longer ones are cut."""
    with find_encoding(path).open(path) as text:
        lines = (line.strip("\ufeff \t\r\n") for line in read_lines(text, max_characters))
        return list(islice((line for line in lines if line), count))


def _fits(path: Path, name: str, odd: re.Pattern[bytes]) -> bool:
    """Whether a file decodes without an error, and few of its bytes beyond ASCII stand where this encoding has none."""
    decoder = codecs.getincrementaldecoder(name)()
    strange = high = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                return False
            strange += len(odd.findall(chunk))
            high += len(_HIGH_BYTE.findall(chunk))
    return strange <= _MAX_BROKEN_SHARE * high


def _count_utf8(file: IO[bytes]) -> tuple[int, int]:
    """How many of the bytes beyond ASCII belong to valid UTF-8, and how many there are."""
    good = high = 0
    rest = b""
    while chunk := file.read(_CHUNK_BYTES):
        if rest or not chunk.isascii():
            data = rest + chunk
            tail = re.search(rb"[\xc0-\xff][\x80-\xbf]{0,2}\Z", data)
            rest = data[tail.start() :] if tail and len(chunk) == _CHUNK_BYTES else b""
            data = data[: len(data) - len(rest)]
            good += sum(map(len, _UTF8_SEQUENCE.findall(data)))
            high += len(_HIGH_BYTE.findall(data))
    return good, high + len(rest)
