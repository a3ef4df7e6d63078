"""The order in which a GPU copies, decodes and computes: three streams and marks in them, or none on other devices.

CUDA runs each stream in order and different streams side by side. One set of streams serves a device in the whole
process: torch hands out 32 a device and then the same ones again, and a stream that one model uses while another
model records a graph on it would end up in that graph.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol

import torch

_STREAM: Any = torch.cuda.Stream
_PRIORITY = -1
"""Before answers being generated, whose steps are many and short; and from another set of streams than theirs."""
_EVENT: Any = torch.cuda.Event


class Mark(Protocol):
    """A place in the work of a stream."""

    def wait(self) -> None:
        """Block until everything before it is done."""


class Streams(Protocol):
    """Where work on a device is queued. All but `Mark.wait` is called with `lock` held."""

    lock: threading.RLock
    """Held by whoever queues work: a graph that is being recorded would take in what others queue."""
    is_pinned: bool
    """Whether `host_buffer` is memory that the device copies from and to on its own."""

    def host_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Memory of the host that `upload` reads and `download` writes."""

    def device_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Memory of the device that any of the streams may write from now on."""

    def settle(self) -> None:
        """Block until what other code of this thread queued is done, such as moving weights to the device."""

    def upload(self, target: torch.Tensor, source: torch.Tensor, after: Mark | None) -> Mark:
        """Copy host to device once `after` is reached; `source` must stay as it is until the mark that is returned."""

    def download(self, target: torch.Tensor, source: torch.Tensor) -> Mark:
        """Copy device to host behind what is being computed; `target` is filled at the mark that is returned."""

    def computing(self, after: Mark | None = None) -> Any:
        """A context whose torch operations run on the device once `after` is reached."""

    def decoding(self) -> Any:
        """A context whose torch operations run beside those of `computing`, done by the time it ends."""

    def mark(self) -> Mark:
        """The place behind all that is being computed."""

    def time(self, work: Callable[[], object], repeats: int) -> float:
        """Seconds that the device takes for one `work`, on average."""


class _Done:
    """The mark of work that ended before the call that queued it did."""

    def wait(self) -> None:
        """Nothing to wait for."""


_DONE = _Done()


class InOrder:
    """A CPU, and Apple's GPUs: everything happens in the order in which it is called, and copies block."""

    is_pinned = False

    def __init__(self, device: torch.device) -> None:
        self.lock = threading.RLock()
        self._device = device

    def host_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype)

    def device_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=self._device)

    def settle(self) -> None:
        self._finish()

    def upload(self, target: torch.Tensor, source: torch.Tensor, after: Mark | None) -> Mark:
        target.copy_(source)
        return _DONE

    def download(self, target: torch.Tensor, source: torch.Tensor) -> Mark:
        target.copy_(source)
        return _DONE

    @contextmanager
    def computing(self, after: Mark | None = None) -> Iterator[None]:
        yield

    @contextmanager
    def decoding(self) -> Iterator[None]:
        yield

    def mark(self) -> Mark:
        return _DONE

    def time(self, work: Callable[[], object], repeats: int) -> float:
        self._finish()
        began = time.perf_counter()
        for _ in range(repeats):
            work()
        self._finish()
        return (time.perf_counter() - began) / repeats

    def _finish(self) -> None:
        if self._device.type == "mps":
            torch.mps.synchronize()


class _CudaMark:
    def __init__(self, stream: Any) -> None:
        # "blocking" lets a waiting thread sleep; by default it would keep a core busy
        self.event: Any = _EVENT(blocking=True)
        self.event.record(stream)

    def wait(self) -> None:
        self.event.synchronize()


class CudaStreams:
    """Copies, computing and decoding side by side; see `Streams`."""

    is_pinned = True

    def __init__(self, device: torch.device) -> None:
        self.lock = threading.RLock()
        self._device = device
        self._copy: Any = _STREAM(device, priority=_PRIORITY)
        self._compute: Any = _STREAM(device, priority=_PRIORITY)
        self._decode: Any = _STREAM(device, priority=_PRIORITY)

    def host_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def device_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """The allocator hands out memory that queued work may still read, trusting in the order of one stream; since
        another stream will write here, that work is waited for.
        """
        with torch.cuda.stream(self._compute):
            memory = torch.empty(shape, dtype=dtype, device=self._device)
        self.mark().wait()
        return memory

    def settle(self) -> None:
        torch.cuda.current_stream(self._device).synchronize()

    def upload(self, target: torch.Tensor, source: torch.Tensor, after: Mark | None) -> Mark:
        with torch.cuda.stream(self._copy):
            self._behind(self._copy, after)
            target.copy_(source, non_blocking=True)
            return _CudaMark(self._copy)

    def download(self, target: torch.Tensor, source: torch.Tensor) -> Mark:
        with torch.cuda.stream(self._compute):
            target.copy_(source, non_blocking=True)
            return _CudaMark(self._compute)

    @contextmanager
    def computing(self, after: Mark | None = None) -> Iterator[None]:
        with torch.cuda.stream(self._compute):
            self._behind(self._compute, after)
            yield

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """On a stream of its own, empty at the start and at the end.

        The JPEG engines of some cards write before the stream they were given reaches them (pytorch/vision#9606,
        torchcodec#1634): in an idle stream, whose memory nobody else allocates from, there is nothing to overtake.
        """
        self._decode.synchronize()
        try:
            with torch.cuda.stream(self._decode):
                yield
        finally:
            self._decode.synchronize()

    def mark(self) -> Mark:
        return _CudaMark(self._compute)

    def time(self, work: Callable[[], object], repeats: int) -> float:
        began, ended = (_EVENT(enable_timing=True) for _ in range(2))
        with torch.cuda.stream(self._compute):
            began.record(self._compute)
            for _ in range(repeats):
                work()
            ended.record(self._compute)
        ended.synchronize()
        return float(began.elapsed_time(ended)) / 1e3 / repeats

    def _behind(self, stream: Any, after: Mark | None) -> None:
        if isinstance(after, _CudaMark):
            stream.wait_event(after.event)


@lru_cache
def streams_of(torch_name: str) -> Streams:
    """The streams of a device, the same for everyone in this process."""
    device = torch.device(torch_name)
    return CudaStreams(device) if device.type == "cuda" else InOrder(device)
