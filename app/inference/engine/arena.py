"""Memory that a front end shares with an engine: the front end writes pixels, the engine reads them.

The front end gives out pieces of it and takes each back when the engine has answered. Either side may end at any time:
the memory has no name, and goes with the last process that has it open.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
import threading
import time
from bisect import insort
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import TooLargeError
from app.inference.engine.messages import INLINE, Picture
from app.inference.errors import DeadlineExceededError
from app.inference.protocols import ImageOrMaker, PlacedMaker, Rgb
from app.media.encoded import EncodedJpeg

_ALIGNMENT = 64


class Arena:
    """The front end's side. Thread-safe: images are decoded into it by several threads."""

    def __init__(self, size: int, max_inline: int, folder: Path) -> None:
        """`size` in bytes. What finds no room goes through the socket, `max_inline` bytes of it at the same time.
        `folder` is private, for where the system has no memory without a name.
        """
        self.size = size
        self.fd = _open_memory(size, folder)
        self._memory = np.frombuffer(mmap.mmap(self.fd, size), np.uint8)
        self._changed = threading.Condition()
        self._free = [(0, size)]
        """Offset and length, by offset."""
        self._taken: dict[int, int] = {}
        self._max_inline = max_inline
        self._inline = 0

    def take(self, size: int, deadline: float, ticket: Ticket) -> int:
        """The offset of so many bytes, or INLINE where they go through the socket; waits where that is full too.

        Raises DeadlineExceededError, TicketClosedError when nobody wants the image any more, and TooLargeError where
        only images of the same request are in its way, which are given back together with it.
        """
        with self._changed:
            while not ticket.is_closed:
                if (offset := self._find(size)) is not None:
                    return offset
                if not self._inline or self._inline + size <= self._max_inline:
                    self._inline += size
                    return INLINE
                if ticket.beside and self._is_theirs(ticket.beside):
                    raise TooLargeError("The images of this request are too large together.")
                if not self._changed.wait(deadline - time.monotonic()):
                    raise DeadlineExceededError
            raise TicketClosedError

    def give_back(self, offset: int, size: int) -> None:
        """Take back what `take` gave."""
        with self._changed:
            if offset == INLINE:
                self._inline -= size
            else:
                self._join(offset, self._taken.pop(offset))
            self._changed.notify_all()

    def wake(self) -> None:
        """Let those that wait look at their tickets."""
        with self._changed:
            self._changed.notify_all()

    def view(self, offset: int, height: int, width: int) -> Rgb:
        """uint8[height, width, 3] to be written."""
        return self._memory[offset : offset + height * width * 3].reshape(height, width, 3)

    @property
    def taken_bytes(self) -> int:
        """What is given out at the moment, in the socket's stead too."""
        with self._changed:
            return sum(self._taken.values()) + self._inline

    def close(self) -> None:
        """The mapping goes when nobody writes into it any more. Safe to call twice."""
        # the second time the number may be another file's
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _find(self, size: int) -> int | None:
        """The lowest place that fits, so that little memory is ever touched."""
        wanted = max(1, -(-size // _ALIGNMENT)) * _ALIGNMENT
        for index, (offset, length) in enumerate(self._free):
            if length < wanted:
                continue
            if length == wanted:
                del self._free[index]
            else:
                self._free[index] = (offset + wanted, length - wanted)
            self._taken[offset] = wanted
            return offset
        return None

    def _is_theirs(self, tickets: Sequence[Ticket]) -> bool:
        """Whether all that is given out belongs to them."""
        places = [place for ticket in tickets if (place := ticket.place) is not None]
        inline = sum(size for offset, size in places if offset == INLINE)
        return self._taken.keys() == {offset for offset, _ in places} - {INLINE} and self._inline == inline

    def _join(self, offset: int, length: int) -> None:
        insort(self._free, (offset, length))
        index = self._free.index((offset, length))
        for left in (index, index - 1):  # with the next, then with the one before
            if 0 <= left < len(self._free) - 1:
                (start, own), (following, more) = self._free[left : left + 2]
                if start + own == following:
                    self._free[left : left + 2] = [(start, own + more)]


class TicketClosedError(Exception):
    """Nobody waits for the image any more."""


class Ticket:
    """One image on its way into memory, and who may take that back: never while a thread still writes there."""

    def __init__(self, arena: Arena, beside: Sequence[Ticket] = ()) -> None:
        """`beside` are the images of the same request that were filled before it."""
        self.beside = beside
        self._closed = threading.Event()
        self._arena = arena
        self._lock = threading.Lock()
        self._is_busy = False
        self.place: tuple[int, int] | None = None
        """Offset and size of what is taken."""
        self._view: Rgb | None = None

    @property
    def is_closed(self) -> bool:
        """Whether nobody waits for the image any more."""
        return self._closed.is_set()

    def fill(self, image: ImageOrMaker, deadline: float) -> tuple[Picture, memoryview | None]:
        """In the decode pool: the image as it is sent, with its bytes where they are not in shared memory.

        Raises what the maker raises, DeadlineExceededError, TicketClosedError.
        """
        with self._lock:
            if self._closed.is_set():
                raise TicketClosedError
            self._is_busy = True
        try:
            if time.monotonic() >= deadline:
                raise DeadlineExceededError
            made: Image.Image | Rgb | EncodedJpeg
            if isinstance(image, PlacedMaker):
                made = image.make_into(lambda height, width: self._take(height, width, deadline))
            else:
                made = image() if callable(image) else image
            if isinstance(made, EncodedJpeg):
                self._give_back()
                picture = Picture(made.height, made.width, INLINE, len(made.data), made.turn)
                return picture, memoryview(made.data)
            return self._place(made, deadline)
        finally:
            with self._lock:
                self._is_busy = False
                if self._closed.is_set():
                    self._give_back()

    def close(self) -> None:
        """Give the memory back, as soon as nobody writes into it."""
        with self._lock:
            if self._closed.is_set():
                return
            self._closed.set()
            is_busy = self._is_busy
            if not is_busy:
                self._give_back()
        if is_busy:
            self._arena.wake()

    def _place(self, made: Image.Image | Rgb, deadline: float) -> tuple[Picture, memoryview | None]:
        view = self._view
        if view is None or made is not view:
            pixels = np.asarray(made)
            if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
                raise ValueError("an image must be uint8[h, w, 3]")
            view = self._take(pixels.shape[0], pixels.shape[1], deadline)
            np.copyto(view, pixels)
        offset = INLINE if self.place is None else self.place[0]
        picture = Picture(view.shape[0], view.shape[1], offset)
        return picture, view.reshape(-1).data if offset == INLINE else None

    def _take(self, height: int, width: int, deadline: float) -> Rgb:
        self._give_back()
        size = height * width * 3
        offset = self._arena.take(size, deadline, self)
        self.place = (offset, size)
        if offset == INLINE:
            self._view = np.empty((height, width, 3), np.uint8)
        else:
            self._view = self._arena.view(offset, height, width)
        return self._view

    def _give_back(self) -> None:
        if self.place is not None:
            self._arena.give_back(*self.place)
        self.place = self._view = None


def map_arena(fd: int, size: int) -> NDArray[np.uint8]:
    """The engine's side: uint8[size]. It is only read; libraries complain of arrays that could not be written, though.

    Raises ValueError for memory that is smaller, or could be made smaller later (reading it would then end the
    process), and OSError.
    """
    if not 0 < size <= os.fstat(fd).st_size:
        raise ValueError("the shared memory is smaller than it is said to be")
    if hasattr(fcntl, "F_GET_SEALS") and not _is_sealed(fd):
        raise ValueError("the shared memory could be made smaller")
    return np.frombuffer(mmap.mmap(fd, size), np.uint8)


def _is_sealed(fd: int) -> bool:
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)
    except OSError:
        return False


def _open_memory(size: int, folder: Path) -> int:
    can_be_sealed = hasattr(os, "memfd_create")  # Linux
    if can_be_sealed:
        fd = os.memfd_create("vision-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        fd, path = tempfile.mkstemp(dir=folder, prefix=".arena-")
        os.unlink(path)
    try:
        os.ftruncate(fd, size)
        if can_be_sealed:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd
