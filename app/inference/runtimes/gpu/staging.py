"""Pixels on their way to a device: packed into one of two buffers; it crosses in one copy while the other is filled."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from app.inference.runtimes.gpu.streams import Mark, Streams

Image = NDArray[np.uint8]
"""uint8[h, w, 3], RGB."""

BUFFERS = 2
_PARALLEL_BYTES = 4 << 20
"""Fewer bytes are copied by the calling thread: handing them to others costs more than they save."""
_COPY_THREADS = 4
_ALIGNMENT = 256
"""Bytes; what CUDA's own allocations are aligned to, so that vectorised reads of a group start well."""


class Group(NamedTuple):
    """Images of one size, side by side on the device."""

    pixels: torch.Tensor
    """uint8[n, h, w, 3]; for what is queued before `use` returns."""
    rows: list[int]
    """Which images these are, by their place in what was staged."""


class _Buffer:
    def __init__(self) -> None:
        self.host = torch.empty(0, dtype=torch.uint8)
        self.device = torch.empty(0, dtype=torch.uint8)
        self.uploaded: Mark | None = None
        """Until then the host's side must not be written."""
        self.consumed: Mark | None = None
        """Until then the device's side must not be written."""


class Chunk(NamedTuple):
    """Images that crossed together."""

    groups: list[Group]
    uploaded: Mark
    buffer: _Buffer


class Staging:
    """The buffers of one device. Used with the lock of its streams held."""

    def __init__(self, streams: Streams, capacity: int) -> None:
        """`capacity` is the bytes that cross together; one larger image makes a buffer grow."""
        self._streams = streams
        self._capacity = capacity
        self._buffers = [_Buffer() for _ in range(BUFFERS)]
        self._next = 0

    @property
    def nbytes(self) -> int:
        """Bytes that the buffers take on the device."""
        return sum(buffer.device.numel() for buffer in self._buffers)

    def feed(self, images: Sequence[Image], use: Callable[[Chunk], None]) -> None:
        """Put the images on the device in chunks and have `use` queue what is done with each, behind `uploaded`.

        Images of one size in one chunk make one group. All images have been read when this returns: their memory may
        change. Raises what `use` raises.
        """
        for part in split(images, self._capacity):
            chunk = self._stage(images, part)
            try:
                use(chunk)
            finally:  # also behind the part of it that was queued before something failed
                chunk.buffer.consumed = self._streams.mark()

    def _stage(self, images: Sequence[Image], part: Sequence[list[int]]) -> Chunk:
        buffer = self._buffers[self._next]
        self._next = (self._next + 1) % BUFFERS
        if buffer.uploaded is not None:
            buffer.uploaded.wait()
        offsets, total = _layout(images, part)
        self._fit(buffer, total)
        host = buffer.host.numpy()
        copies = [
            (
                host[offset + i * images[row].size :][: images[row].size].reshape(images[row].shape),
                images[row],
            )
            for offset, rows in zip(offsets, part, strict=True)
            for i, row in enumerate(rows)
        ]
        _copy(copies, total)
        buffer.uploaded = self._streams.upload(buffer.device[:total], buffer.host[:total], buffer.consumed)
        groups = []
        for offset, rows in zip(offsets, part, strict=True):
            shape = (len(rows), *images[rows[0]].shape)
            groups.append(Group(buffer.device[offset : offset + math.prod(shape)].view(shape), rows))
        return Chunk(groups, buffer.uploaded, buffer)

    def _fit(self, buffer: _Buffer, total: int) -> None:
        """Grow a buffer that is too small; the sizes double, so that it grows few times."""
        if buffer.host.numel() >= total:
            return
        if buffer.consumed is not None:  # the old memory may only be given back when nothing reads it
            buffer.consumed.wait()
        size = max(1 << 20, 1 << (total - 1).bit_length())
        buffer.host = self._streams.host_buffer((size,), torch.uint8)
        buffer.device = self._streams.device_buffer((size,), torch.uint8)


def split(images: Sequence[Image], capacity: int) -> Iterator[list[list[int]]]:
    """The rows of the images in parts of at most `capacity` bytes (or of one image), sorted by size within and over
    the parts, so that images of one size come to lie side by side.
    """
    order = sorted(range(len(images)), key=lambda row: images[row].shape)
    part: list[list[int]] = []
    filled = 0
    for row in order:
        size = images[row].size + _ALIGNMENT
        if part and filled + size > capacity:
            yield part
            part, filled = [], 0
        if part and images[part[-1][0]].shape == images[row].shape:
            part[-1].append(row)
        else:
            part.append([row])
        filled += size
    if part:
        yield part


def _layout(images: Sequence[Image], part: Sequence[list[int]]) -> tuple[list[int], int]:
    """Where each group begins, in bytes, and how many bytes all of them take."""
    offsets, position = [], 0
    for rows in part:
        offsets.append(position)
        position += len(rows) * images[rows[0]].size
        position = -(-position // _ALIGNMENT) * _ALIGNMENT
    return offsets, position


def _copy(copies: list[tuple[Image, Image]], total: int) -> None:
    """Each second array into the first; numpy lets other threads run meanwhile."""
    workers = _copiers() if total >= _PARALLEL_BYTES and len(copies) > 1 else None
    if workers is None:
        for target, source in copies:
            np.copyto(target, source)
        return
    futures: list[Future[None]] = [
        workers.submit(_copy, copies[start::_COPY_THREADS], 0) for start in range(1, _COPY_THREADS)
    ]
    _copy(copies[::_COPY_THREADS], 0)
    for future in futures:
        future.result()


@lru_cache
def _copiers() -> ThreadPoolExecutor | None:
    """Threads that copy beside the calling one; none where there are few cores."""
    if (os.cpu_count() or 1) < 2 * _COPY_THREADS:
        return None
    return ThreadPoolExecutor(_COPY_THREADS - 1, thread_name_prefix="staging")
