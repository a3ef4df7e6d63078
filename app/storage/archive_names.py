"""Names of an archive's entries that say nothing of their encoding: which one was meant, judged over all of them.

Windows' own zip writes the system's code page, and many tools write UTF-8 without the flag that says so. What is found
is a guess, so the report on the archive says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.storage.archive_entries import shown_name

_CODE_PAGES = {
    "cp932": "Shift-JIS",
    "gb18030": "GBK",
    "cp949": "EUC-KR",
    "big5": "Big5",
    "cp437": "CP437",
    "cp850": "CP850",
    "cp1252": "Windows-1252",
    "cp866": "CP866",
    "cp1251": "Windows-1251",
}
"""What Windows and old archivers write, in Python's words and in people's."""
_ALIASES = {"cp1252": ("windows-1252",), "cp1251": ("windows-1251",), "cp866": ("ibm866",)}
"""What the detector calls them."""
_LAST_RESORT = "cp437"
"""What the format says that such names are in; it has a character for each byte."""
_SLASHED, _BACKSLASHED = re.compile(rb"[\0-?]+"), re.compile(rb"[\0-?\\]+")
"""What separates words: digits and punctuation below the bytes that may be half of a character."""
_MAX_SAMPLE_BYTES = 16_384
_MAX_OTHERS = 2
_IMPLAUSIBLE = 0.1
"""What the likelihood of a reading is multiplied by for each trait that names do not have."""
_UNKNOWN = 0.001
"""The likelihood, on the detector's scale, of a reading that it says nothing about."""
_CLEAR_RATIO = 1.5
"""How many times as likely as any other reading a guess must be to be stated without one."""


class NameReader:
    """Reads names of one archive, once all of them were looked at."""

    def __init__(self, raw_names: Iterable[bytes]) -> None:
        """`raw_names` are those without a stated encoding that are not ASCII; they are read once and not kept."""
        self._possible = {"utf-8", *_CODE_PAGES}
        self._sample: dict[bytes, None] = {}
        self._example = b""
        self.count = sampled = 0
        for raw in raw_names:
            self.count += 1
            self._possible = {encoding for encoding in self._possible if _is_readable(raw, encoding)}
            # a backslash may be half of a character, so it separates only where nothing else does
            for part in (_SLASHED if b"/" in raw else _BACKSLASHED).split(raw):
                if not part.isascii() and part not in self._sample and sampled < _MAX_SAMPLE_BYTES:
                    self._sample[part] = None
                    sampled += len(part)
                    self._example = self._example or part
        self._others: list[str] = []
        """Encodings that are nearly as likely and give other names."""
        self.encoding = self._choose()

    def read(self, raw: bytes) -> str:
        """The name; one that the encoding has no characters for is read as UTF-8 or CP437."""
        for encoding in (self.encoding, "utf-8"):
            if _is_readable(raw, encoding):
                return raw.decode(encoding)
        return raw.decode(_LAST_RESORT)

    @property
    def remark(self) -> str:
        """The sentence about the guess, for the report on the archive."""
        called = _CODE_PAGES.get(self.encoding, "UTF-8")
        text = (
            f"The archive does not say how its names are written: {self.count} were read as {called}"
            f" ('{shown_name(self.read(self._example))}')"
        )
        if self._others:
            readings = [(other, self._example.decode(other, errors="replace")) for other in self._others]
            named = " or ".join(f"{_CODE_PAGES[other]} ('{shown_name(name)}')" for other, name in readings)
            text += f"; {named} is nearly as likely"
        return f"{text}."

    def _choose(self) -> str:
        if "utf-8" in self._possible:
            return "utf-8"
        candidates = [name for name in _CODE_PAGES if name in self._possible] or list(_CODE_PAGES)
        ranked = _rank(b"\n".join(self._sample), candidates)
        best, score = ranked[0]
        self._others = [
            other
            for other, other_score in ranked[1:]
            if score < _CLEAR_RATIO * other_score and not self._reads_alike(best, other)
        ][:_MAX_OTHERS]
        return best

    def _reads_alike(self, one: str, other: str) -> bool:
        return all(
            part.decode(one, errors="replace") == part.decode(other, errors="replace")
            for part in self._sample
        )


def _rank(sample: bytes, candidates: list[str]) -> list[tuple[str, float]]:
    """The candidates and how likely each is, the likeliest first; in their own order where nothing is known."""
    # only an archive without stated encodings needs the detector and its tables
    from chardet import detect_all

    found = detect_all(sample, ignore_threshold=True, include_encodings=candidates)
    likely = {(guess["encoding"] or "").lower(): guess["confidence"] for guess in found}
    scores = {}
    for name in candidates:
        confidence = max(likely.get(alias, 0.0) for alias in (name, *_ALIASES.get(name, ())))
        scores[name] = (confidence + _UNKNOWN) * _plausibility(sample.decode(name, errors="replace"))
    return sorted(scores.items(), key=lambda pair: -pair[1])


def _plausibility(text: str) -> float:
    """1 for what looks like names; less for symbols, half-width kana, capitals within a word, and ideographs
    between Latin letters.
    """
    around = list(zip(" " + text, text, text[1:] + " ", strict=False))
    traits = (
        any(not c.isascii() and not c.isalnum() for c in text),
        any("\uff61" <= c <= "\uff9f" for c in text),
        any(before.islower() and c.isupper() and not c.isascii() for before, c, _ in around),
        any(c >= "\u2e80" and _is_latin(before) and _is_latin(after) for before, c, after in around),
    )
    return _IMPLAUSIBLE ** sum(traits)


def _is_latin(character: str) -> bool:
    return character.isascii() and character.isalpha()


def _is_readable(raw: bytes, encoding: str) -> bool:
    """Whether the bytes are characters of the encoding; its control characters stand in no name."""
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return not any(character < " " or "\x7f" <= character < "\xa0" for character in text)
