"""The parts of a multipart body, one at a time, each counted while it comes in."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app import errors
from app.http.errors import TooManyPartsError
from app.http.names import is_storable
from app.settings import Settings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

IMAGE_NAMES = frozenset({"image", "images", "image[]", "images[]"})
_MAX_NAME_CHARS = 100
_MAX_FILE_NAME_BYTES = 1_024
_FILE_NAME = re.compile(
    r"(https?|ftp|file|s3|gs)://\S+|@?[^\0\n\r<>{}]*[^\0\n\r<>{}.]\.[A-Za-z][A-Za-z0-9]{1,4}"
)

T = TypeVar("T")
"""Where a file's bytes go."""


class Parts(Generic[T]):
    """The parser's callbacks: one part at a time, each counted while it comes in."""

    def __init__(
        self,
        settings: Settings,
        *,
        open_image: Callable[[], T],
        write: Callable[[T, bytes], None],
        files: frozenset[str] = IMAGE_NAMES,
    ) -> None:
        """`open_image` starts the next file of a part named in `files`, `write` appends to one; both refuse what is
        too much.
        """
        self.fields: defaultdict[str, list[str]] = defaultdict(list)
        self._ended = False
        self._settings = settings
        self._open_image = open_image
        self._write = write
        self._count = 0
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._name = ""
        self._entry: T | None = None
        self._files = files
        self._text = bytearray()
        self._is_file = False

    async def receive(
        self,
        request: Request,
        boundary: bytes | None,
        after_chunk: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Parse the request's body while it arrives; raises BadRequestError, and what the callbacks raise."""
        if not boundary:
            raise errors.BadRequestError("The multipart body has no boundary.")
        try:
            parser = MultipartParser(boundary, self._callbacks())
            async for chunk in request.stream():
                parser.write(chunk)
                if after_chunk is not None:
                    await after_chunk()
            parser.finalize()
        except FormParserError:
            raise errors.BadRequestError("The multipart body is malformed.") from None
        if not self._ended:
            raise errors.BadRequestError("The multipart body ends too early.")

    def _callbacks(self) -> MultipartCallbacks:
        """What the parser calls, by its names."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._start,
            "on_part_data": self._data,
            "on_part_end": self._finish,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > self._settings.limits.max_parts:
            raise TooManyPartsError()
        self._disposition = b""

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _start(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name")
        if name is None:
            raise errors.BadRequestError("A part of the multipart body has no name.")
        try:
            self._name = check_text("name", name.decode())
        except UnicodeDecodeError:
            raise errors.BadRequestError("A part's name is not UTF-8.") from None
        # what a part says of itself (file name, type) decides nothing but the words of a refusal: its name and its
        # bytes do
        self._is_file = b"filename" in options
        self._entry = self._open_image() if self._name in self._files else None
        self._text = bytearray()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._entry is not None:
            self._write(self._entry, data[start:end])
            if not self._is_file and len(self._text) <= _MAX_FILE_NAME_BYTES:
                self._text += data[start:end]
            return
        most = self._settings.limits.max_field_kb
        if len(self._text) + end - start > most * 1024:
            if self._is_file:
                raise errors.InvalidInputError(self._describe_misplaced_file())
            raise errors.TooLargeError(f"{shorten_name(self._name)}: one text field has at most {most} KiB.")
        self._text += data[start:end]

    def _finish(self) -> None:
        if self._entry is not None:
            self._entry = None
            if is_file_name(bytes(self._text)):
                name = shorten_name(self._name)
                raise errors.InvalidInputError(
                    f"{name}: this is the name or address of a file; addresses are not fetched, and the file itself is"
                    f" wanted: with curl, -F {name}=@FILE."
                )
            return
        try:
            text = self._text.decode()
        except UnicodeDecodeError:
            raise errors.InvalidInputError(self._describe_misplaced_file()) from None
        self.fields[self._name].append(check_text(self._name, text))

    def _describe_misplaced_file(self) -> str:
        places = sorted(name for name in self._files if name.isalpha())
        parts = f"parts named {' or '.join(map(repr, places))}"
        return f"{shorten_name(self._name)}: this is not text; files belong in {parts}."

    def _end(self) -> None:
        self._ended = True


def is_file_name(data: bytes) -> bool:
    """Whether what came in a file's place is no file but, by its form, a path or an address of one."""
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        return False
    return len(data) <= _MAX_FILE_NAME_BYTES and _FILE_NAME.fullmatch(text) is not None


def shorten_name(name: str) -> str:
    """A client's own name for a field, safe to say back."""
    return name.encode("ascii", "replace").decode()[:_MAX_NAME_CHARS]


def check_text(name: str, text: str) -> str:
    """`text`, which every store can keep; raises `InvalidInputError` on NUL or lone surrogates."""
    if not is_storable(text):
        raise errors.InvalidInputError(f"{shorten_name(name)}: this is not text.")
    return text
