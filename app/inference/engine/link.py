"""One end of a connection between a front end and an engine: frames in, frames out."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

import msgspec

from app.errors import TooLargeError
from app.inference.engine.messages import MAX_HEADER_BYTES, Message, encode

M = TypeVar("M")
Part = bytes | bytearray | memoryview

PREFIX = struct.Struct("<II")
_ARRAY = struct.Struct(">BI")
_ARRAY_32 = 0xDD
"""What begins an array of any length in msgpack."""
_BUFFER_BYTES = 256 << 10
_JOINED_BYTES = 64 << 10
"""Larger parts are written on their own, without being copied once more."""


class BrokenFrameError(Exception):
    """The peer sent what the protocol does not define."""


class Link(asyncio.BufferedProtocol, Generic[M]):
    """Reads frames into as few buffers as can be; writes what one turn of the loop has to say as one frame.

    Whatever the other side does wrong ends this connection and nothing else.
    """

    def __init__(
        self,
        kinds: Any,
        *,
        max_body_bytes: int,
        on_frame: Callable[[Sequence[M], memoryview], None],
        on_lost: Callable[[Exception | None], None],
    ) -> None:
        """`kinds` is the union of the messages that come in. `on_frame` gets the messages and the body, which it may
        keep; BrokenFrameError from it ends the connection. `on_lost` is called once.
        """
        self._decoder = msgspec.msgpack.Decoder(list[kinds])
        self._max_body_bytes = max_body_bytes
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(_BUFFER_BYTES)
        self._start = self._end = 0
        self._large: bytearray | None = None
        """A frame that does not fit the buffer, while it comes in."""
        self._filled = 0
        self._heads: list[bytes] = []
        self._parts: list[Part] = []
        self._head_bytes = self._part_bytes = 0
        self._flush_is_due = False
        self._broken: Exception | None = None
        self.writable = asyncio.Event()
        """Cleared while the other side reads more slowly than this one writes."""
        self.writable.set()

    # --- out

    def send(self, message: Message, *parts: Part) -> None:
        """Queue a message, and what it carries, for the frame that ends this turn of the loop.

        Raises TooLargeError for one that no frame holds. Without a connection nothing happens: `on_lost` was called.
        """
        head = encode(message)
        size = sum(len(part) for part in parts)
        if len(head) > MAX_HEADER_BYTES - _ARRAY.size or size > self._max_body_bytes:
            raise TooLargeError("This is more than one request to the engine may hold.")
        if self._head_bytes + len(head) > MAX_HEADER_BYTES - _ARRAY.size or (
            self._part_bytes + size > self._max_body_bytes
        ):
            self._write_frame()
        self._heads.append(head)
        self._head_bytes += len(head)
        if size:
            self._parts.extend(parts)
            self._part_bytes += size
        if not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        self._write_frame()

    def _write_frame(self) -> None:
        heads, parts = self._heads, self._parts
        if not heads:
            return
        header_bytes = _ARRAY.size + self._head_bytes
        prefix = PREFIX.pack(header_bytes, self._part_bytes) + _ARRAY.pack(_ARRAY_32, len(heads))
        self._heads, self._parts = [], []
        self._head_bytes = self._part_bytes = 0
        if self._transport is None or self._transport.is_closing():
            return
        small: list[Part] = [prefix, *heads]
        for part in parts:
            if len(part) < _JOINED_BYTES:
                small.append(part)
                continue
            self._transport.write(b"".join(small))
            self._transport.write(part)
            small = []
        if small:
            self._transport.write(b"".join(small))

    def abort(self, error: Exception | None = None) -> None:
        """End the connection at once."""
        self._broken = self._broken or error
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        """Take nothing more for now."""
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on after `pause_reading`."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # --- in: called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = None
        self.writable.set()
        self._on_lost(self._broken or exc)

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self.writable.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        if self._large is not None:
            return memoryview(self._large)[self._filled :]
        return memoryview(self._buffer)[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        try:
            if self._large is not None:
                self._filled += nbytes
                if self._filled == len(self._large):
                    frame, self._large = self._large, None
                    self._take_frame(memoryview(frame))
                return
            self._end += nbytes
            self._take_buffered()
        except BrokenFrameError as error:
            self.abort(error)

    def _take_buffered(self) -> None:
        """Every whole frame of the buffer; then what is left goes to its beginning, or to a buffer of its own."""
        while (held := self._end - self._start) >= PREFIX.size:
            length = self._frame_bytes()
            if held < length:
                break
            # a copy, since the buffer is filled again
            frame = self._buffer[self._start : self._start + length]
            self._start += length
            self._take_frame(memoryview(frame))
        held = self._end - self._start
        left = self._buffer[self._start : self._end]
        if held >= PREFIX.size and (length := self._frame_bytes()) > len(self._buffer):
            self._large = bytearray(length)
            self._large[:held] = left
            self._filled = held
            held = 0
        elif self._start:
            self._buffer[:held] = left
        self._start, self._end = 0, held

    def _frame_bytes(self) -> int:
        header, body = PREFIX.unpack_from(self._buffer, self._start)
        if not 0 < header <= MAX_HEADER_BYTES or body > self._max_body_bytes:
            raise BrokenFrameError(f"a frame of {header} and {body} bytes")
        return int(PREFIX.size + header + body)

    def _take_frame(self, frame: memoryview) -> None:
        if self._broken is not None:
            return
        header, _ = PREFIX.unpack_from(frame)
        end = PREFIX.size + header
        try:
            messages = self._decoder.decode(frame[PREFIX.size : end])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise BrokenFrameError(str(error)) from None
        self._on_frame(messages, frame[end:])


class Body:
    """What the messages of one frame carry, handed out in their order."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._used = 0

    def take(self, size: int) -> memoryview:
        """The next `size` bytes; raises BrokenFrameError where there are fewer."""
        if size < 0 or self._used + size > len(self._data):
            raise BrokenFrameError("a message carries less than it says")
        self._used += size
        return self._data[self._used - size : self._used]

    def end(self) -> None:
        """Raises BrokenFrameError where something is left."""
        if self._used != len(self._data):
            raise BrokenFrameError("a frame carries more than its messages say")
