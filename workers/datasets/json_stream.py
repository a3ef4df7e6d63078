"""JSON documents of any size, an element at a time.

Only the outermost object or list is taken apart; what is in it is decoded by Python's own decoder, which takes the
NaN and Infinity that pandas and `json.dumps` write and stricter streaming parsers refuse.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

_CHUNK_CHARACTERS = 1 << 20
MAX_VALUE_CHARACTERS = 1 << 26
"""Of one element. The largest of real annotations, masks of crowds and embedded images, are a few million."""
_MARGIN_CHARACTERS = 16
"""An error so near to the end of what was read may be that of a value cut in two: `-Infinity`, `\\uXXXX`."""
_NUMBER_END_CHARACTERS = 2
"""What follows a number at the end of what was read may belong to it: `1` of `1.5`, `1.5` of `1.5e-7`."""
_DECODER = json.JSONDecoder(strict=False)  # line breaks within captions


class MalformedJsonError(ValueError):
    """The text is not JSON; the message is a reason in words."""


class Part(NamedTuple):
    """A piece of a document: the value of a key of the outermost object, or an element of a list there.

    A list is announced by a part whose value is `[]` and which is not `listed`. The key is None for the elements of
    an outermost list and for a document that is neither list nor object.
    """

    key: str | None
    value: Any
    listed: bool


def stream_json(text: IO[str]) -> Iterator[Part]:
    """The parts of a document in their order; raises MalformedJsonError where it stops being JSON."""
    reader = _Reader(text)
    first = reader.peek()
    if first == "[":
        yield from _elements(reader, None)
    elif first == "{":
        reader.take("{")
        while reader.peek() != "}":
            key = reader.value()
            if not isinstance(key, str):
                raise MalformedJsonError("a key is no text")
            reader.take(":")
            if reader.peek() == "[":
                yield from _elements(reader, key)
            else:
                yield Part(key, reader.value(), listed=False)
            if reader.peek() != "}":
                reader.take(",")
        reader.take("}")
    else:
        yield Part(None, reader.value(), listed=False)
    if reader.peek():
        raise MalformedJsonError("more follows after its end")


def _elements(reader: _Reader, key: str | None) -> Iterator[Part]:
    reader.take("[")
    yield Part(key, [], listed=False)
    while reader.peek() != "]":
        yield Part(key, reader.value(), listed=True)
        if reader.peek() != "]":
            reader.take(",")
    reader.take("]")


class _Reader:
    """Text that is read as far as it is needed."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._buffer = ""
        self._at = 0
        self._before = 0

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in " \t\r\n\ufeff":
                    return self._buffer[self._at]
                self._at += 1
            if not self._read_on():
                return ""

    def take(self, wanted: str) -> None:
        """Step over a character; raises MalformedJsonError where another one stands."""
        if self.peek() != wanted:
            raise MalformedJsonError(f"at character {self._before + self._at} there is no '{wanted}'")
        self._at += 1

    def value(self) -> Any:
        """The next value; raises MalformedJsonError."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or (
                    error.pos >= len(self._buffer) - _MARGIN_CHARACTERS
                )
                if not cut or len(self._buffer) - self._at > MAX_VALUE_CHARACTERS or not self._read_on():
                    place = self._before + error.pos
                    raise MalformedJsonError(f"at character {place}: {error.msg.lower()}") from None
            except (ValueError, RecursionError) as error:  # numbers without end, lists in lists in lists
                raise MalformedJsonError(f"at character {self._before + self._at}: {error}") from None
            else:
                if end + _NUMBER_END_CHARACTERS < len(self._buffer) or not self._read_on():
                    self._at = end
                    return value

    def _read_on(self) -> bool:
        """Twice as much as is left, so that a long value is decoded few times."""
        more = self._text.read(max(_CHUNK_CHARACTERS, len(self._buffer) - self._at))
        if more:
            self._before += self._at
            self._buffer = self._buffer[self._at :] + more
            self._at = 0
        return bool(more)
